"""A reader of Prometheus text 0.0.4, written from the format's description and not from ours.

Belongs here: parsing and the format's own rules. Does not: what our metrics mean.
"""

import re

import msgspec

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$", re.DOTALL)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)', re.DOTALL)
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Exposed(msgspec.Struct):
    told: str
    kind: str = ""
    samples: list[tuple[str, tuple[tuple[str, str], ...], float]] = []

    def value(self, suffix: str = "", **labels: str) -> float:
        wanted = tuple(sorted(labels.items()))
        (found,) = [v for s, told, v in self.samples if s == suffix and told == wanted]
        return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\[\\\"n]", lambda found: _ESCAPES[found[0]], text)


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    found, at = [], 0
    while at < len(text):
        label = _LABEL.match(text, at)
        assert label is not None, text
        found.append((label[1], _unescaped(label[2])))
        at = label.end()
    assert len({name for name, _ in found}) == len(found)
    return tuple(sorted(found))


def read_exposition(text: str) -> dict[str, Exposed]:
    """Families by name; fails where the text does not keep the format."""
    assert text.endswith("\n")
    families: dict[str, Exposed] = {}
    name = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            _, _, name, told = line.split(" ", 3)
            assert name not in families
            families[name] = Exposed(re.sub(r"\\[\\n]", lambda m: _ESCAPES[m[0]], told))
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] == name
            assert not families[name].samples
            families[name].kind = line.split(" ")[3]
        else:
            sample = _SAMPLE.match(line)
            assert sample is not None, line
            assert sample[1].startswith(name)
            row = (sample[1].removeprefix(name), _labels(sample[2] or ""), float(sample[3]))
            families[name].samples.append(row)
    for exposed in families.values():
        keys = [(suffix, labels) for suffix, labels, _ in exposed.samples]
        assert len(set(keys)) == len(keys)
        if exposed.kind == "histogram":
            buckets = [value for suffix, _, value in exposed.samples if suffix == "_bucket"]
            assert buckets == sorted(buckets)
            assert buckets[-1] == exposed.value("_count")
    return families
