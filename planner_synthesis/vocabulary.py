"""Words that synthesis knows: of questions, of keys that mean the same, of skills.

Belongs here: tables of English words, in lower case, and nothing that decides by them.
Does not: reading questions (``questions``), skills (``skills``), names (``names``).
Spec: planner-synthesis, "Adaptation" (synonyms and skill-derived hints); rtfs.md 2.2 has the names
of upstream's skills and of its keys.
"""

from collections.abc import Mapping
from typing import Final

INTERROGATIVES: Final = frozenset("what which how when where who whom whose why".split())
AUXILIARIES: Final = frozenset(
    "is are was were be do does did should would will can could may must shall have has had s re"
    " am".split()
)
DETERMINERS: Final = frozenset(
    "the a an your my our their his her its any some this that these those specific"
    " following".split()
)
PRONOUNS: Final = frozenset("i you we they he she it me us them there".split())
# answers to an optional question that give no value, unless they are among its options
NO_ANSWERS: Final = frozenset({"skip", "none", "nothing", "n/a", "default", "no preference"})
# whose: "his name" is another one than "your name"
OF_OTHERS: Final = frozenset("his her their he she".split())
# "from which account" and "to which account" are two
DIRECTIONS: Final = {"from": "from", "to": "to", "into": "to"}
PREPOSITIONS: Final = frozenset(
    "for to in on at by with from about into of as and or if so than per".split()
)
COURTESIES: Final = frozenset(
    "please provide enter give tell specify choose pick select state type need want like let know"
    " share describe indicate list say prefer use".split()
)
REVISIONS: Final = frozenset(
    "refine change update adjust revise correct clarify narrow reconsider modify".split()
)
NOUNS_AS_WELL: Final = frozenset("type state list share".split())  # "ticket type"
REFERENCES: Final = frozenset("it them this that".split())  # "change it to": an earlier answer
LEFT_OUT: Final = frozenset("optional optionally".split())  # "limit, optional" is a limit
# said when something is asked once more; they name nothing
ANEW: Final = frozenset("again instead rather now actually then afterwards finally".split())
ANEW_FOR_ANSWERS: Final = frozenset("again instead rather".split())  # an answer was there before
OTHERS: Final = frozenset("other another different new".split())  # "another city instead"
# requests that a list follows: of what may be chosen, or of what should be told
CHOOSING: Final = frozenset("select choose pick prefer".split())
FREE_REQUESTS: Final = frozenset("enter provide give tell describe list share say".split())
OPENINGS: Final = frozenset("please now then and also next could can would will you".split())
# what has slashes of its own
PATHS: Final = frozenset(
    "repo repos repository repositories path paths file files folder folders directory directories"
    " url urls link links branch project image".split()
)
# "number of guests" counts them; "phone number of the guest" does not
COUNTING: Final = frozenset("number numbers num no count quantity".split())
BOUNDS: Final = frozenset(
    "max maximum min minimum total exact approximate desired expected average overall".split()
)
PEOPLE: Final = frozenset("people children men women persons".split())  # plurals without an s
# words that end the thing asked for: what follows says what it is for
PHRASE_ENDS: Final = AUXILIARIES | PRONOUNS | PREPOSITIONS - {"of"}
STOPWORDS: Final = INTERROGATIVES | AUXILIARIES | DETERMINERS | PRONOUNS | PREPOSITIONS | COURTESIES

# what a thing asked for is called, where the words alone decide
CONCEPTS: Final[Mapping[str, str]] = {
    "name": "person/name", "full name": "person/name",
    "email": "contact/email", "email address": "contact/email", "e mail": "contact/email",
    "phone": "contact/phone", "phone number": "contact/phone", "telephone": "contact/phone",
    "risk tolerance": "investment/risk_tolerance", "risk appetite": "investment/risk_tolerance",
}  # fmt: skip
# words that only say how somebody is reached: an email address is an email
REACHED_BY: Final = frozenset({("email", "address"), ("phone", "number")})
# whom "who should review it" asks for
ROLES: Final[Mapping[str, str]] = {
    "assigned": "assignee", "assign": "assignee", "receive": "recipient", "attend": "attendees",
    "invite": "attendees", "invited": "attendees", "review": "reviewer", "approve": "approver",
}  # fmt: skip
# what "when does it start" asks for
MOMENTS: Final[Mapping[str, str]] = {
    "leave": "departure_date", "depart": "departure_date", "return": "return_date",
    "start": "start_date", "begin": "start_date", "end": "end_date", "finish": "end_date",
    "since": "since", "until": "until",
}  # fmt: skip
# what it is called where the interaction is about a journey
TRAVEL_CONCEPTS: Final[Mapping[str, str]] = {
    "destination": "trip/destination", "city": "trip/destination",
    "dates": "trip/dates",
    "budget": "trip/budget", "price": "trip/budget", "cost": "trip/budget",
    "interests": "trip/interests", "duration": "trip/duration", "length": "trip/duration",
}  # fmt: skip
TRAVEL_WORDS: Final = frozenset(
    "travel trip journey flight flights hotel hotels vacation holiday itinerary visit".split()
)
JOURNEY: Final = frozenset("trip travel journey vacation holiday".split())
GOING: Final = frozenset(
    "go going travel travelling traveling visit visiting fly flying leave leaving depart departing"
    " stay staying come coming".split()
)
DESTINATION: Final = "trip/destination"
ORIGIN: Final = "trip/origin"  # where a journey is from
# answers that name a thing rather than a quantity, however many digits they have
IDENTIFIERS: Final = frozenset(
    "id code zip postcode phone version number ref reference sku isbn iban account release tag"
    " build pin passport card ticket invoice serial".split()
)
# quantities of which 250.50 is the same as 250.5; elsewhere it may be a name, as 3.10 is
MONEY: Final = frozenset(
    "amount price cost budget total subtotal fee salary sum payment balance rent tax"
    " deposit".split()
)
# quantities of what has a number or a code too: an invoice's total, a ticket's price
QUANTITIES: Final = MONEY | frozenset(
    "count age size weight height width length depth duration distance temperature percent"
    " percentage rate ratio score limit quantity average hours days weeks months year years minutes"
    " seconds discount threshold timeout".split()
)
# what is on or off: "Dry run?"; with words that may stand next to them
FLAGS: Final = frozenset(
    "dry only verbose recursive recursively quiet silent force forced debug urgent interactive"
    " strict public private optional required enabled disabled active archived anonymous readonly"
    " draft overwrite backup headless vegetarian refundable".split()
)
WITH_FLAGS: Final = frozenset("run mode output flag read option".split())
YES_OR_NO: Final = frozenset("yes no y n".split())
# "Enable canary rollout?" asks for yes or no, though it has no auxiliary
YES_NO_OPENINGS: Final = frozenset(
    "enable disable use allow include exclude confirm force overwrite proceed continue skip keep"
    " need want send notify create add delete remove run show hide ignore retry verify validate"
    " compress archive merge publish subscribe remember sync save start stop restart continue"
    " install update upgrade close reopen attach accept agree".split()
)

# keys that mean the same, in compact spelling; no word is in two groups
SYNONYMS: Final = (
    ("repository", "repo", "gitrepository", "reponame"),
    ("destination", "city", "place", "location"),
    ("origin", "fromcity", "origincity", "departurecity"),
    ("date", "day", "when"),
    ("dates", "period", "daterange"),
    ("email", "mail", "emailaddress"),
    ("phone", "telephone", "phonenumber", "mobile"),
    ("query", "search", "searchquery", "q", "searchterm"),
    ("criteria", "filter", "filters", "conditions"),
    ("message", "text", "body", "content"),
    ("budget", "maxprice", "pricelimit", "maxcost"),
    ("url", "uri", "link"),
    ("filename", "file", "path", "filepath"),
    ("count", "limit", "n", "quantity", "maxresults"),
    ("user", "username", "login"),
    ("name", "fullname"),
    ("language", "lang", "locale"),
    ("duration", "length", "howlong"),
    ("start", "startdate", "departuredate", "fromdate", "datefrom"),
    ("end", "enddate", "returndate", "todate", "dateto"),
    ("title", "subject", "summary", "headline"),
    ("source", "datasource", "dataset", "database"),
    ("labels", "label", "tags", "tag"),
    ("amount", "sum", "value"),
    ("country", "nation"),
    ("sort", "sortby", "orderby", "sortfield"),
)

# next to "default" these have one and are none: "the default branch"
VALUE_WORDS: Final = frozenset(
    "value values answer setting settings choice option options one".split()
)
THINGS: Final = (
    VALUE_WORDS
    | frozenset(word for group in SYNONYMS for word in group)
    | frozenset(
        "branch currency account port region zone timezone config configuration template theme"
        " format type mode policy role environment profile gateway printer browser editor"
        " shell project workspace channel list queue order priority unit units color colour size"
        " font permissions method model version image address server host registry behaviour"
        " behavior one ones".split()
    )
)

# words that are one in compounds: `max_price`, `maximum_price`; `from_account`, `source_account`
WORD_FORMS: Final = (
    ("max", "maximum"), ("min", "minimum"),
    ("from", "source", "origin"), ("to", "destination", "target"),
)  # fmt: skip
# last words that say too little: a file's name is no full name, a city is no destination yet
LOOSE_LAST_WORDS: Final = frozenset(
    "name city place location title subject summary headline length value start end source day when"
    " date".split()
)
# before a last word these make another quantity of it: the most that is paid is not what is paid
ALTERING_WORDS: Final = frozenset(
    "max maximum min minimum most least highest lowest exclude excluded excluding ignore ignored"
    " skip without not no non old previous former discount tax fee".split()
)
# two ends of one thing: what is from one is never given where the other is taken
FROM_ENDS: Final = frozenset("from source origin departure sender start begin".split())
TO_ENDS: Final = frozenset("to destination target arrival recipient receiver end until".split())
# of "the date" or "the time" without more, the first one is meant: never when it ends
OTHER_MOMENTS: Final = frozenset("end return until to finish expiry expiration birth".split())
UPPER_BOUNDS: Final = frozenset({"max", "maximum", "most", "highest"})
# words of which none is another one misspelled or in the plural: days are many, a day is a date
DISTINCT_WORDS: Final = frozenset(
    "second seconds minute minutes hour hours day days week weeks month months year years time"
    " times contact contract country county trial trail status stats casual causal angle angel"
    " desert dessert plane planet server sever severe later latter new news".split()
)
# verbs of what cannot be taken back, or locks somebody out, each group with other words that ask
# for it; a verb of a group asks for all of it, in any form
DESTRUCTIVE: Final = tuple(
    (tuple(verbs.split()), tuple(others.split()))
    for verbs, others in (
        (
            "delete remove erase purge destroy drop wipe truncate trash unlink shred expunge "
            "discard prune eradicate obliterate scrap nuke dispose del rm rmdir",
            "ridof throwaway erasure destruction disposal cleanup",
        ),
        ("clear flush evict", "purge wipe erase cleanup"),
        ("empty", "clear purge wipe"),
        ("kill terminate shutdown abort halt poweroff", "turnoff switchoff termination"),
        ("stop", "halt kill terminate shutdown"),
        ("reboot restart powercycle", "reload"),
        ("cancel void", "cancellation calloff"),
        ("archive", ""),
        ("revoke rescind invalidate expire", "revocation withdraw"),
        ("uninstall decommission deprovision deregister unregister dismantle", "retire"),
        ("disable deactivate suspend freeze", "turnoff switchoff suspension"),
        ("ban block blacklist blocklist kick expel banish", "lockout expulsion"),
        ("lock", "lockout"),
        ("reset reinitialize reinitialise", "startover"),
        ("format reformat", ""),
        ("overwrite clobber", "overwritten overwrote replace"),
        ("revert rollback restore", "rollingback rolledback undo restoration"),
        ("unpublish retract takedown", "retraction withdraw"),
        ("forcepush", ""),
    )
)
# of these verbs, those that are as often a noun or an adjective: only what begins a part of an id
# is the verb, as in `users.block` and `stop_server`, but not in `edit_block` and `bus_stop`
NOUNS_TOO: Final = frozenset("block stop empty void lock scrap".split())
# verbs of what changes something, each with words that ask for it, in any form
CHANGES: Final[Mapping[str, tuple[str, ...]]] = {
    verb: tuple(asking.split())
    for verbs, asking in (
        ("create add insert", "create add insert make made new addition insertion"),
        (
            "edit modify update patch rename set replace",
            "edit modify modification update patch rename set change replace",
        ),
        ("write save", "write wrote written save store storage"),
        (
            "send post publish notify reply submit",
            "send sent post publish publication notify notification reply submit submission tell",
        ),
        (
            "pay charge transfer buy purchase refund",
            "pay paid payment charge transfer buy bought purchase refund",
        ),
        (
            "move upload deploy install execute",
            "move upload deploy deployment install installation execute run",
        ),
    )
    for verb in verbs.split()
}
SKILL_WORDS: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "travel-planning": (
        "orchestration",
        frozenset(
            "travel trip journey flight flights hotel hotels itinerary vacation book".split()
        ),
    ),
    "financial-planning": (
        "orchestration",
        frozenset("budget savings expenses expense financial mortgage pension".split()),
    ),
    "investment-analysis": (
        "analysis",
        frozenset("investment investments invest stocks stock portfolio risk bonds".split()),
    ),
    "data-analysis": (
        "analysis",
        frozenset("data dataset analysis analyse analyze statistics chart dashboard".split()),
    ),
    "research": ("analysis", frozenset("research literature sources study survey".split())),
    "issue-triage": (
        "technical",
        frozenset("triage issue issues bug bugs backlog ticket tickets".split()),
    ),
    "code-review": (
        "technical",
        frozenset("review refactor refactoring pull merge codebase lint".split()),
    ),
    "communication": (
        "communication",
        frozenset("email notify notification announce newsletter translate".split()),
    ),
    "analytical-reasoning": ("analysis", frozenset("compare evaluate assess weigh rank".split())),
}

# renames that only a skill makes likely
SKILL_HINTS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "travel-planning": (
        ("destination", "to"), ("destination", "arrival"), ("origin", "from"),
        ("dates", "checkin"), ("interests", "activities"),
    ),
    "issue-triage": (
        ("criteria", "labels"), ("criteria", "query"), ("repository", "project"),
    ),
    "investment-analysis": (("risktolerance", "risk"), ("risktolerance", "risklevel")),
    "data-analysis": (("source", "table"), ("analysis", "report"), ("analysis", "query")),
    "communication": (
        ("email", "recipient"), ("email", "to"), ("message", "body"),
        ("recipient", "to"), ("recipientemail", "to"), ("recipientemail", "recipient"),
        ("sender", "from"), ("senderemail", "from"), ("senderemail", "sender"),
    ),
    "research": (("topic", "query"), ("question", "query")),
}  # fmt: skip
