"""Of candidates that fit alike, the one that was spoken of; none that destroys without being asked."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis import AgentRegistry, explain_synthesis, generate_planner_generic
from planner_synthesis.config import DEFAULT_CONFIG
from planner_synthesis.proposals import draft_of_proposal
from planner_synthesis.relevance import Conversation
from planner_synthesis.schema import schema_from_history
from planner_synthesis.types import (
    CapabilityCard,
    InteractionTurn,
    PlannerGenContext,
    RuntimeContext,
)


def turns(*prompts: str) -> tuple[InteractionTurn, ...]:
    return tuple(
        InteractionTurn(turn_index=i, prompt=prompt, answer="ada")
        for i, prompt in enumerate(prompts)
    )


def asked(prompts: tuple[str, ...], *cards: CapabilityCard) -> PlannerGenContext:
    history = turns(*prompts)
    return PlannerGenContext(schema=schema_from_history(history), history=history,
                             security=RuntimeContext(level="full"), registry_caps=cards)  # fmt: skip


def card(card_id: str, *keys: str) -> CapabilityCard:
    return CapabilityCard(id=card_id, expects_context_keys=keys, trust_tier="T1")


USERS = [card(name, "username") for name in ("users.delete", "users.lookup", "users.ask")]


@pytest.mark.parametrize(("prompt", "chosen"), [
    ("Which username should I look up?", "users.lookup"), ("Which username should I delete?", "users.delete"),
    ("Removing which username?", "users.delete"), ("Which username?", "users.ask"),
])  # fmt: skip
def test_of_equal_candidates_the_one_that_was_spoken_of_is_called(prompt: str, chosen: str) -> None:
    synthesis = generate_planner_generic(asked((prompt,), *USERS))
    assert synthesis.required_capabilities == (chosen,)


FILES = [card("files.edit", "file_path"), card("files.read", "path"), card("webParse", "filePath")]


@pytest.mark.parametrize(("prompt", "chosen"), [
    ("Which file path should I read?", "files.read"), ("Which file path is being read?", "files.read"),
    ("Which file path should I change?", "files.edit"), ("Which file path should be parsed?", "webParse"),
])  # fmt: skip
def test_what_was_spoken_of_is_preferred_to_a_key_that_is_spelled_alike(
    prompt: str, chosen: str
) -> None:
    context = asked((prompt,), *FILES)
    synthesis = generate_planner_generic(context)
    assert synthesis.required_capabilities == (chosen,)
    if chosen == "files.read":
        page = explain_synthesis(synthesis)
        assert "nobody said to edit" in page
        assert "no word of its id was said" in page


def test_where_nothing_was_said_keys_alone_decide() -> None:
    schema = schema_from_history(turns("Which file path?"))
    context = PlannerGenContext(
        schema=schema, security=RuntimeContext(level="full"), registry_caps=tuple(FILES)
    )
    assert generate_planner_generic(context).required_capabilities == ("files.edit",)


def test_a_version_in_an_id_is_no_word_of_it() -> None:
    versioned = card("users.delete/v.1.0", "username")
    synthesis = generate_planner_generic(asked(("Which username should I delete?",), versioned))
    assert synthesis.required_capabilities == (versioned.id,)


def test_nothing_is_deleted_that_nobody_asked_to_delete() -> None:
    synthesis = generate_planner_generic(asked(("Which username?",), USERS[0]))
    assert synthesis.required_capabilities == ()
    assert "nobody asked to delete anything" in explain_synthesis(synthesis)


UNASKED = (
    "deactivate reset format disable reboot ban overwrite flush suspend shred clear abort restart void expire"
    " decommission freeze kick lock revert restore unpublish"
)


@pytest.mark.parametrize("verb", UNASKED.split())
def test_looking_somebody_up_does_what_cannot_be_taken_back_to_nobody(verb: str) -> None:
    harmful = card(f"users.{verb}", "username")
    refused = generate_planner_generic(asked(("Which username should I look up?",), harmful))
    assert refused.required_capabilities == ()
    assert f"nobody asked to {verb} anything" in explain_synthesis(refused)
    wanted = generate_planner_generic(asked((f"Which username should I {verb}?",), harmful))
    assert wanted.required_capabilities == (harmful.id,)


@pytest.mark.parametrize(("prompt", "candidate_id", "verb"), [
    ("Which user is to be banned?", "users.ban", None), ("Banning whom?", "users.block", None),
    ("Which bank holds the account?", "users.ban", "ban"), ("Which end date?", "tasks.kill", "kill"),
    ("Which user should be turned off? Turn off who?", "users.deactivate", None), ("Suspension of whom?", "users.disable", None),
    ("Which server should I stop?", "servers.terminate", "terminate"), ("Which server should I stop?", "servers.stop", None),
    ("Which disk needs formatting?", "disk.format", None), ("Which information?", "disk.format", "format"),
    ("Which order needs a cancellation?", "order.cancel", None), ("Roll back which release?", "release.rollback", None),
    ("Get rid of which file?", "files.delete", None), ("Which key's revocation?", "keys.revoke", None),
    ("Which dropdown?", "tables.drop", "drop"), ("Removal of which file?", "files.erase", None),
])  # fmt: skip
def test_what_asks_for_a_verb_is_a_form_of_it_or_of_one_that_means_the_same(
    prompt: str, candidate_id: str, verb: str | None
) -> None:
    assert Conversation(turns(prompt)).unasked_verb(candidate_id) == verb


@pytest.mark.parametrize(("prompt", "change"), [
    ("Which email address?", "add"), ("Adding which email?", None), ("Which settings page?", "add"),
])  # fmt: skip
def test_a_word_that_only_begins_like_a_verb_asks_for_no_change(
    prompt: str, change: str | None
) -> None:
    assert Conversation(turns(prompt)).unasked_change("mail.add") == change


def test_no_step_of_an_agent_deletes_for_the_sake_of_a_key(tmp_path: Path) -> None:
    cards = (card("hotels.search", "city", "budget"), USERS[0])
    prompts = ("Which city?", "What budget?", "Which username then?")
    context = asked(prompts, *cards)
    refused = generate_planner_generic(context, agent_registry=AgentRegistry(tmp_path))
    assert (refused.agent, refused.required_capabilities) == (None, ())
    context = asked((*prompts[:2], "Which username should be deleted then?"), *cards)
    agent = generate_planner_generic(context, agent_registry=AgentRegistry(tmp_path)).agent
    assert agent is not None
    assert agent.required_capabilities == ("hotels.search", "users.delete")


def test_a_proposal_deletes_nothing_unasked_either() -> None:
    text = (
        '(do {:status "processing" :result (call "users.delete" {:username (:username context)})})'
    )
    context = asked(("Which username?",), *USERS)
    draft, problems = draft_of_proposal(text, context, config=DEFAULT_CONFIG)
    assert (draft, problems) == (None, ("nobody asked to delete anything",))
    context = asked(("Delete which username?",), *USERS)
    assert draft_of_proposal(text, context, config=DEFAULT_CONFIG)[1] == ()


@pytest.mark.parametrize(("candidate_id", "verb"), [
    ("users.delete", "delete"), ("deleteUser", "delete"), ("mcp.db.drop_table", "drop"), ("order-cancel", "cancel"),
    ("deleted_items.list", None), ("undelete", None), ("dropbox.list", None), ("users.get", None), ("users.delete:v1.0", "delete"), ("users.2.0/list", None), ("", None),
    ("server.shut_down", "shutdown"), ("git.forcePush", "forcepush"), ("RESET_ALL", "reset"), ("disk-format", "format"),
    ("users.block", "block"), ("stop_server", "stop"), ("files.edit_block", None), ("bus_stop.find", None),
    ("is_empty", None), ("cart.empty", "empty"), ("bank.find", None), ("banner.show", None), ("web.scrape", None),
])  # fmt: skip
def test_a_verb_is_a_whole_word_of_the_id(candidate_id: str, verb: str | None) -> None:
    assert Conversation(turns("Which user?")).unasked_verb(candidate_id) == verb
    assert Conversation(()).unasked_verb(candidate_id) is None


@given(st.lists(st.text("aeilstUDé._-9\n", max_size=8) | st.sampled_from(
    ["users.delete", "delete.1.0", "shut_down.x", "blocks.list", "deletes", "listUsers", "send_list", "users.list", "USERS.get", "a.send.b\nc"]), max_size=6))  # fmt: skip
def test_ids_of_one_topic_are_weighed_alike(ids: list[str]) -> None:
    said = Conversation(turns("Listing which users?", "Is it sent?"))
    for candidate_id, topic in zip(ids, said.topics(ids), strict=True):
        n_said, flags = divmod(topic, 4)
        assert n_said == said.n_said(candidate_id)
        assert (flags & 1 == 1) == (said.unasked_change(candidate_id) is not None)
        assert (flags & 2 == 2) == (said.unasked_verb(candidate_id) is not None)
    assert [topic % 4 for topic in Conversation(()).topics(ids)] == [0] * len(ids)
