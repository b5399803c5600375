"""The pages in a browser: sorting, filters, budgets, permalinks, access for all, no other host."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from dorib.cli.app import main
from dorib.report.site.marks import Mark, write_marks
from fixtures.browser import NARROW, WIDE, Reader, chromium, reading, violations
from fixtures.site import large_board, pictured_board

PUBLISHED = Path(__file__).parents[1] / "leaderboards"
FIRST_VIEW = 3_000_000
"""Bytes."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published board, and a board with pictures and a second judge beside it."""
    root = tmp_path_factory.mktemp("site")
    shutil.copytree(PUBLISHED / "tiny-4.1", root / "tiny")
    pictured_board(root / "pictured")
    with pytest.raises(SystemExit) as ended:
        main(["site", str(root)])
    assert not ended.value.code
    return root


@pytest.fixture
def tiny(browser: Browser, site: Path) -> Iterator[Reader]:
    with reading(browser) as reader:
        reader.open(site / "tiny" / "index.html")
        yield reader
        assert not reader.complaints


@pytest.fixture
def pictured(browser: Browser, site: Path) -> Iterator[Reader]:
    with reading(browser) as reader:
        reader.open(site / "pictured" / "index.html")
        yield reader
        assert not reader.complaints


def of_group(reader: Reader, group: str = "global") -> list[str]:
    return reader.titles(f"tbody[data-group='{group}'] tr.row:not([hidden]) .open b")


def test_a_click_sorts_and_another_turns_the_order_round(tiny: Reader) -> None:
    ranked = of_group(tiny)
    assert ranked[0].startswith("adversarial-finetune")
    utility = tiny.page.locator("th[data-key=utility] button")
    utility.click()
    assert tiny.page.locator("th[data-key=utility]").get_attribute("aria-sort") == "ascending"
    rising = of_group(tiny)
    assert rising[0] == "wanda (scope=global)" and sorted(rising) == sorted(ranked)
    utility.click()
    assert of_group(tiny)[0] == "prompt-filter"
    assert tiny.page.locator("th[data-key=utility]").get_attribute("aria-sort") == "descending"
    assert tiny.query == "sort=utility.down"


def test_words_and_choices_filter_rows(tiny: Reader) -> None:
    tiny.page.fill("#q", "nemo")
    assert tiny.titles() == ["nemo (scope=global)", "nemo (scope=per_sample)"]
    assert tiny.page.inner_text("#count").startswith("2 of 9 rows")
    tiny.page.select_option("#group", "per sample")
    assert tiny.titles() == ["nemo (scope=per_sample)"]
    tiny.page.click("text=reset")
    assert len(tiny.titles()) == 9 and not tiny.query
    tiny.page.select_option("#verdict", "damaged")
    [damaged] = tiny.titles()
    assert damaged.startswith("adversarial-finetune")


def test_a_damaged_model_in_first_place_bears_its_mark(tiny: Reader) -> None:
    first = tiny.page.locator("tr.row").first
    assert first.locator(".rank").inner_text() == "1"
    assert first.locator("td .mark").inner_text() == "damaged"


def test_the_mark_goes_with_the_rank_in_a_narrow_window(browser: Browser, site: Path) -> None:
    for width, beside in ((WIDE, False), (NARROW, True)):
        with reading(browser, width) as reader:
            reader.open(site / "tiny" / "index.html")
            first = reader.page.locator("tr.row").first
            assert first.locator("th .mark").is_visible() == beside


def test_columns_go_by_choice_and_by_what_the_attacker_holds(tiny: Reader) -> None:
    def shown() -> list[str]:
        heads = tiny.titles("thead th[data-attack]:not([hidden])")
        return [head.split()[0] for head in heads]

    everything = shown()
    tiny.page.select_option("#knows", "no gradients")
    assert shown() == ["none", "transfer", "evolution"]
    tiny.page.select_option("#knows", "")
    tiny.page.click("#columns summary")
    tiny.page.uncheck("#columns input >> nth=1")
    assert shown() == [name for name in everything if name != "dori"]
    assert tiny.query == "hide=dori"


def test_a_smaller_budget_shows_its_own_rates(tiny: Reader) -> None:
    cell = tiny.page.locator("#row-wanda-0567e73c td[data-attack='1']")
    largest = cell.inner_text().split()
    assert largest[:4] == ["0.75", "0.43", "to", "0.95"]
    tiny.page.select_option("#budget", "240")
    assert cell.inner_text().split()[0] == "0.50"
    gap = tiny.page.locator("#row-wanda-0567e73c td.gap")
    assert gap.inner_text().split() == ["0.50", "without", "interval", "dori"]
    tiny.page.select_option("#budget", "")
    assert cell.inner_text().split() == largest


def test_rows_are_filtered_by_their_claim(browser: Browser, tmp_path: Path) -> None:
    large_board(tmp_path, 3, attacks=1)
    write_marks(tmp_path, {"hide:v=1": Mark(state="failed", reason="its rate is not so")})
    write_marks(tmp_path, {"hide:v=2": Mark(state="verified", by="B. Reader")})
    with pytest.raises(SystemExit):
        main(["site", str(tmp_path)])
    with reading(browser) as reader:
        reader.open(tmp_path / "index.html", "?claim=failed")
        assert reader.titles() == ["Hide and seek (v=1)"]
        reader.page.select_option("#claim", "verified")
        assert reader.titles() == ["Hide and seek (v=2)"]
        assert reader.query == "claim=verified"


def test_the_second_judge_shows_its_rates_and_leaves_ranks(pictured: Reader) -> None:
    cell = pictured.page.locator("#row-hide td[data-attack='1']")
    assert cell.inner_text().split()[0] == "0.75"
    rank = pictured.page.inner_text("#row-hide .rank")
    pictured.page.select_option("#judge", "second")
    assert cell.inner_text().split()[0] == "0.62"
    assert pictured.page.inner_text("#row-hide .rank") == rank
    assert pictured.query == "judge=second"


def test_the_address_brings_the_same_view_back(browser: Browser, site: Path) -> None:
    address = "?q=sparsity%3D0.4&budget=480&sort=gap.down&hide=transfer#row-wanda-0567e73c"
    with reading(browser) as reader:
        reader.open(site / "tiny" / "index.html", address)
        page = reader.page
        assert reader.titles() == ["wanda (scope=global)", "wanda (scope=per_sample)"]
        assert page.input_value("#budget") == "480"
        assert page.locator("#row-wanda-0567e73c-details").is_visible()
        assert "9 of 12 images come back" in page.inner_text("#row-wanda-0567e73c-details")
        assert not page.locator("th[data-key=a4]").is_visible()
        assert page.url.endswith("#row-wanda-0567e73c")


def test_nonsense_in_the_address_is_nothing(browser: Browser, site: Path) -> None:
    with reading(browser) as reader:
        reader.open(site / "tiny" / "index.html", "?budget=7&sort=x.up&verdict=%3Cb%3E&hide=y#%22")
        assert len(reader.titles()) == 9
        assert not reader.complaints


def test_the_keyboard_does_what_the_mouse_does(tiny: Reader) -> None:
    page = tiny.page
    page.keyboard.press("/")
    page.keyboard.type("filter")
    assert tiny.titles() == ["prompt-filter"]
    page.focus("#row-prompt-filter .open")
    page.keyboard.press("Enter")
    assert page.locator("#row-prompt-filter-details").is_visible()
    assert page.locator("#row-prompt-filter .open").get_attribute("aria-expanded") == "true"
    assert page.url.endswith("#row-prompt-filter")
    page.keyboard.press("Enter")
    assert not page.locator("#row-prompt-filter-details").is_visible()


def test_the_first_column_stays_in_a_narrow_window(browser: Browser, site: Path) -> None:
    with reading(browser, NARROW) as reader:
        reader.open(site / "tiny" / "index.html")
        region = reader.page.locator(".wide:has(#rows)")
        head = reader.page.locator("#row-prompt-filter th")
        before = head.bounding_box()
        region.evaluate("element => { element.scrollLeft = 400; }")
        after = head.bounding_box()
        assert before and after and before["x"] == after["x"]
        assert before["width"] < NARROW / 2
        overflows = reader.page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not overflows


def test_without_scripts_all_rows_and_reasons_are_there(browser: Browser, site: Path) -> None:
    with reading(browser, scripts=False) as reader:
        reader.open(site / "tiny" / "index.html")
        assert len(reader.titles("#rows tr.row a.name")) == 9
        assert reader.page.locator("#row-wanda-0567e73c-details").is_visible()
        assert not reader.page.locator("#tools").is_visible()


def test_the_theme_is_the_system_s_until_it_is_changed(browser: Browser, site: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    with reading(browser, scheme="dark") as reader:
        reader.open(site / "tiny" / "index.html")
        dark = reader.page.evaluate(paper)
        reader.page.click("#theme")
        assert reader.page.evaluate(paper) == "rgb(255, 255, 255)" != dark
        reader.page.reload()
        assert reader.page.evaluate(paper) == "rgb(255, 255, 255)"


def test_paper_is_white_and_has_no_tools(browser: Browser, site: Path) -> None:
    with reading(browser, scheme="dark") as reader:
        reader.open(site / "tiny" / "index.html")
        reader.page.emulate_media(media="print")
        assert reader.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert not reader.page.locator("#tools").is_visible()
        assert not reader.page.locator("nav").is_visible()


def test_a_sample_s_page_shows_what_broke_or_what_held(browser: Browser, site: Path) -> None:
    with reading(browser) as reader:
        reader.open(site / "pictured" / "samples" / "m0.html")
        cells = ".cell:not([hidden])"
        assert reader.page.locator(cells).count() == 6
        reader.page.select_option("#show", "broken")
        broken = reader.page.locator(cells).count()
        assert all("✓ copy" in text for text in reader.titles(cells))
        reader.page.select_option("#show", "held")
        assert reader.page.locator(cells).count() == 6 - broken
        assert reader.query == "show=held"
        assert not reader.complaints


def test_a_rate_leads_to_what_was_drawn(browser: Browser, site: Path) -> None:
    with reading(browser) as reader:
        reader.open(site / "pictured" / "index.html")
        reader.page.click("#row-hide [data-attack='1'] a")
        assert reader.page.url.endswith("/pictured/mitigations/hide.html#attack-dori")
        assert reader.page.locator("th:target").inner_text().startswith("dori")
        reader.page.click("th:target a")
        assert reader.page.url.endswith("/pictured/entries/hide.dori.json")


def test_five_hundred_rows_are_one_light_page(browser: Browser, tmp_path: Path) -> None:
    large_board(tmp_path, 500)
    with pytest.raises(SystemExit) as ended:
        main(["site", str(tmp_path)])
    assert not ended.value.code
    assert (tmp_path / "index.html").stat().st_size < FIRST_VIEW
    with reading(browser) as reader:
        reader.open(tmp_path / "index.html", "?sort=gap.down")
        assert len(of_group(reader)) == 500
        reader.page.fill("#q", "v=499")
        assert of_group(reader) == ["Hide and seek (v=499)"]


KINDS = (
    "index.html",
    "tiny/index.html",
    "pictured/index.html",
    "pictured/samples/m0.html",
    "pictured/mitigations/hide.html",
)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_asked_of_another_host_and_the_first_view_is_light(
    browser: Browser, site: Path, kind: str
) -> None:
    with reading(browser) as reader:
        reader.open(site / kind)
        reader.page.wait_for_load_state("networkidle")
        files = {url.partition("?")[0].removeprefix("file://") for url in reader.asked}
        assert all(Path(file).is_file() for file in files)
        assert sum(Path(file).stat().st_size for file in files) < FIRST_VIEW
        assert not reader.complaints


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_axe_finds_nothing(
    browser: Browser, site: Path, kind: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    assert violations(browser, site / kind, width, scheme) == []
