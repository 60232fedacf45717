"""The documents hold together: links, anchors, named files and functions, and the book's table of contents."""

from __future__ import annotations

import re
import subprocess
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "docs"
SUMMARY = BOOK / "SUMMARY.md"

FENCE = re.compile(r"(?ms)^(```+).*?^\1[ \t]*$")
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"(?m)^#{1,6} +(.+?)[ \t]*$")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")
# A file or folder of the repository, named in full. `acme` and `refund` are the examples of "Extend".
NAMED = re.compile(r"`((?:\.ci|docs|events|functions|local|ops|shared|tests)/[\w./-]+)`")
EXAMPLE = re.compile(r"/(?:acme|refund)\b")


def documents() -> list[Path]:
    """Every Markdown file of the checkout that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for line in sorted(set(listed.stdout.splitlines())) if (path := ROOT / line).exists()]


def anchor(heading: str) -> str:
    """The fragment that GitHub and mdBook give a heading."""
    text = LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).replace("`", "")
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text.lower()))


def anchors(page: Path) -> set[str]:
    found: dict[str, int] = {}
    names = set()
    for heading in HEADING.findall(FENCE.sub("", page.read_text())):
        name = anchor(heading)
        count = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{count}" if count else name)
    return names


def targets(page: Path) -> Iterator[str]:
    """What the page links to within the repository."""
    for target in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text()))):
        if not ELSEWHERE.match(target):
            yield target


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere."""
    for target in targets(page):
        name, _, fragment = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        if not aim.exists() or (fragment and fragment not in anchors(aim)):
            yield target


def chapters(summary: Path) -> list[Path]:
    return [(summary.parent / target).resolve() for target in targets(summary)]


class TestDocuments(unittest.TestCase):
    def test_every_link_and_anchor_leads_somewhere(self) -> None:
        for page in documents():
            with self.subTest(page.relative_to(ROOT)):
                self.assertEqual(list(broken(page)), [])

    def test_every_file_that_a_document_names_exists(self) -> None:
        for page in documents():
            named = NAMED.findall(FENCE.sub("", page.read_text()))
            with self.subTest(page.relative_to(ROOT)):
                self.assertEqual([name for name in named if not EXAMPLE.search(name) and not (ROOT / name).exists()], [])

    def test_every_page_of_the_book_is_in_its_summary_once(self) -> None:
        pages = [page for page in documents() if page.is_relative_to(BOOK) and page != SUMMARY]
        self.assertEqual(sorted(chapters(SUMMARY)), sorted(pages))

    def test_a_page_of_the_book_links_only_to_pages_of_the_book(self) -> None:
        # The built book holds nothing else.
        for page in [SUMMARY, *chapters(SUMMARY)]:
            for target in targets(page):
                aim = (page.parent / target.partition("#")[0]).resolve()
                with self.subTest(page.relative_to(ROOT), target=target):
                    self.assertTrue(aim.is_relative_to(BOOK))

    def test_the_map_names_every_function_of_the_template_and_no_other(self) -> None:
        deployed = re.findall(r"(?m)^  (\w+):\n    Type: AWS::Serverless::Function$", (ROOT / "template.yaml").read_text())
        table = (ROOT / "ARCHITECTURE.md").read_text().split("\n### Functions\n")[1].split("\n###")[0]
        named = [name for cell in re.findall(r"(?m)^\| `\w+` \| ([\w, ]+) \|", table) for name in cell.split(", ")]
        self.assertEqual(sorted(named), sorted(deployed))


class TestBroken(unittest.TestCase):
    def broken(self, text: str) -> list[str]:
        with tempfile.TemporaryDirectory() as directory:
            page, other = Path(directory, "page.md"), Path(directory, "other.md")
            page.write_text(text)
            other.write_text("# One `GET`, [two](page.md)\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```\n")
            return list(broken(page))

    def test_a_link_that_leads_somewhere_is_not_broken(self) -> None:
        for link in ("other.md", "other.md#one-get-two", "other.md#twice", "other.md#twice-1", "#here", "https://example.com/#x"):
            self.assertEqual(self.broken(f"# Here\n\n[a]({link})\n"), [])

    def test_a_missing_file_or_heading_is_broken(self) -> None:
        for link in ("none.md", "other.md#none", "other.md#twice-2", "other.md#no-heading", "#none"):
            self.assertEqual(self.broken(f"# Here\n\n[a]({link})\n"), [link])

    def test_code_holds_no_links(self) -> None:
        self.assertEqual(self.broken("`[a](none.md)`\n\n```sh\n[a](none.md)\n```\n"), [])


if __name__ == "__main__":
    unittest.main()
