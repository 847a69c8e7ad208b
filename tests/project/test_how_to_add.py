"""ARCHITECTURE's "How to add" names files and tables as they are, and the tables are what it says."""

import re

import pytest
from paths import ROOT

SECTION = (ROOT / "ARCHITECTURE.md").read_text("utf-8").partition("## How to add")[2].partition("\n## ")[0]
ITEMS = dict(re.findall(r"^- \*\*(.+?)\*\*: (.+?)(?=^- |\Z)", SECTION, re.MULTILINE | re.DOTALL))


def test_it_tells_of_all_that_is_added():
    wanted = {
        "What a corpus writes of a clip",
        "What visitors of the page take home",
        "update operator",
        "data set",
        "corruption",
        "format of flow files",
        "kind of exported file",
        "measure",
        "verb",
        "setting",
        "new name",
    }
    assert {re.sub(r"^An? ", "", name) for name in ITEMS} == wanted


@pytest.mark.parametrize("name", ITEMS)
def test_it_names_files_that_exist_and_what_stands_in_them_in_few_lines(name):
    text = ITEMS[name]
    words = re.findall(r"`([^`]+)`", text)
    named = [word for word in words if "/" in word or ".py" in word]
    paths = [ROOT / word if word.startswith("tests/") else ROOT / "flowgru" / word for word in named]
    paths = [path if path.exists() else ROOT / path.name for path in paths]
    assert paths and all(path.exists() for path in paths)
    stands = "".join(path.read_text("utf-8") for path in paths if path.is_file())
    tables = [word for word in words if re.fullmatch(r"[A-Z]\w+", word)]
    assert tables and all(re.search(rf"\b{table}\b", stands) for table in tables)
    assert text.strip().count("\n") < 5
