"""Secrets: found by where they stand and by how they look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.snapshot.reading import clean_doc
from planner_synthesis.snapshot.redaction import (
    KnownSecrets,
    clean_url,
    holds_secret,
    is_secret_name,
    looks_secret,
    redact,
    secrets_in,
)

SHAPES = [
    "sk-proj-abcdefghijklmnop1234", "ghp_" + "a1B2" * 9, "github_pat_" + "a1B2" * 9,
    "glpat-abcdefghij1234567890", "xoxb-123456789-abcdef", "AKIA" + "ABCD1234EFGH5678",
    "AIza" + "SyA1234567890abcdefghijkl", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    "hf_" + "abcdABCD1234" * 3, "Zm9vYmFy8J1kQ2x9Lw0pVtRz5Yy7",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
]  # fmt: skip


@pytest.mark.parametrize("secret", SHAPES)
def test_what_looks_like_a_secret_is_taken_out_and_refused_in_a_name(secret: str) -> None:
    assert secret not in redact(f"before {secret} after")
    assert redact(f"before {secret} after").startswith("before ")
    assert holds_secret(f"tool.{secret}")


@pytest.mark.parametrize(
    "text",
    [
        "book a flight", "com.acme:v1.0/book", "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "token count of a text", "a-rather-long-name-of-a-tool-that-means-no-harm",
        "github.search_repositories_by_topic_and_language", "e3b0c44298fc1c149afbf4c8996fb924",
        "What is the password policy?", "the token is used to sign in",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text
    assert not looks_secret(text)


@pytest.mark.parametrize(
    "name",
    ["auth_token", "apiKey", "X-Api-Key", ":password", "client_secret", "Authorization", "cookie",
     "db_pwd", "access_key_id", "refresh-token", "token", "github.token", "private_key", "sig", "bearer"],
)  # fmt: skip
def test_a_name_says_that_its_value_is_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["author", "max_tokens", "keyboard", "tokenizer", "signature_url", "passenger"]
)
def test_a_name_that_only_resembles_one_says_nothing(name: str) -> None:
    assert not is_secret_name(name)


def test_a_value_is_secret_by_where_it_stands() -> None:
    document = {
        "provider": {"Http": {"base_url": "https://joe:hunter22@h/x?k=query-value#f=frag-value"}},
        "headers": {"Authorization": ["Bearer plain-words", 12345]},
        "note": "password: letmein9, the token is abc12345, and Bearer abcdefgh12",
        "name": "harmless",
    }
    assert {
        "hunter22", "query-value", "frag-value", "plain-words", "12345", "letmein9", "abcdefgh12", "abc12345",
    } <= secrets_in(document)  # fmt: skip
    assert "harmless" not in secrets_in(document)


@pytest.mark.parametrize(
    ("document", "secret"),
    [
        ({"headers": {"X-Auth": "qazwsx123"}}, "qazwsx123"),
        ({"extraHeaders": {"X-Team": ["Key qazwsx123", 77123]}}, "qazwsx123"),
        ({"extraHeaders": {"X-Team": ["Key qazwsx123", 77123]}}, "77123"),
        ({"http": {"headers": [{"name": "X-Auth", "value": "qazwsx123"}]}}, "qazwsx123"),
        ({"headers": {"Cookie": "sid=plmokn99; theme=dark; Secure"}}, "plmokn99"),
        ({"cookie": "sid=plmokn99;a=b"}, "plmokn99"),
        ({"set-cookie": 'sid="plmokn99"; Path=/'}, "plmokn99"),
        ({"connection-string": "Server=x;Pwd=zxcv9876"}, "zxcv9876"),
        ({"dsn": "host=x db_pwd=zxcv9876 DbPwd=other"}, "zxcv9876"),
        ({"dsn": "client_secret: 'zxcv9876'"}, "zxcv9876"),
        ({"dsn": "Server=x;UserPassword=zxcv9876"}, "zxcv9876"),
    ],
)  # fmt: skip
def test_headers_cookies_and_connection_strings_hold_secrets(document: object, secret: str) -> None:
    known = secrets_in(document)
    assert secret in known
    assert not known & {"sid", "theme", "Server", "X-Team", "db_pwd", ""}
    assert redact(f"use {secret} here", known=KnownSecrets(known)) == "use [redacted] here"


def test_an_assignment_is_redacted_whatever_stands_before_its_name() -> None:
    assert redact("Server=x;Pwd=zxcv9876;Port=1") == "Server=x;Pwd=[redacted];Port=1"
    assert redact("my_password=hunter22") == "my_password=[redacted]"
    assert redact("tokenizer: sentencepiece, and pwded: abcdef") == (
        "tokenizer: sentencepiece, and pwded: abcdef"
    )


def test_a_known_value_is_taken_out_wherever_it_stands() -> None:
    known = KnownSecrets(["hunter22", "hunter2", "abc"])
    assert redact("xhunter22x hunter2 abc", known=known) == "x[redacted]x [redacted] abc"
    assert holds_secret("tool.hunter22", known=known)
    assert not holds_secret("tool.hunter2", known=known), "seven characters may be chance in a name"


def test_a_url_keeps_neither_user_nor_query() -> None:
    assert clean_url("https://u:p@h.example/a/b?t=1") == "https://h.example/a/b"
    assert "sk-" not in clean_url("https://h/sk-abcdefghijklmnop")
    assert clean_url("http://[bad") == "a URL that cannot be read"


@given(st.lists(st.text(min_size=4, max_size=12), max_size=5), st.text(max_size=60))
def test_no_known_value_survives(values: list[str], text: str) -> None:
    known = KnownSecrets(values)
    shown = redact(text.join(values), known=known)
    assert not [v for v in values if v in shown.replace("[redacted]", "\0\0\0\0") and "\0" not in v]


PARTS = st.sampled_from(
    [*SHAPES, "token=", "password: ", "bearer ", "basic ", "'", '"', " ", "\n", ",", "[redacted]", "[red",
     "https://", "u:p@h", "/x?k=v", "abcdefgh12", "is ", "token ", "api_key"]
)  # fmt: skip


@given(st.lists(PARTS | st.text(max_size=5), max_size=12).map("".join), st.integers(1_980, 2_010))
def test_a_text_is_the_same_when_it_is_redacted_again(text: str, n_before: int) -> None:
    """A snapshot that was written is read with the same rules, and its hash must not change."""
    once = redact(text)
    assert redact(once) == once
    doc = clean_doc("x " * (n_before // 2) + text)
    assert doc is not None
    assert clean_doc(doc) == doc
    assert len(doc) <= 2_000
