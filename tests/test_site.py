"""The built documentation in a browser: navigation, search, no error on the console, no request to another host."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

SITE = Path(os.environ.get("XONOFF_SITE", Path(__file__).parents[1] / "docs" / "_build" / "html"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps"),
)
#: Widths and heights of a desk and of a phone.
SIZES = {"desktop": (1400, 900), "phone": (390, 844)}

#: What of a page reaches beyond the window, and is in nothing that can be scrolled.
BEYOND = """
const width = document.documentElement.clientWidth;
const scrolls = (e) => /auto|scroll/.test(getComputedStyle(e).overflowX);
const inside = (e) => e.matches("article") ? false : scrolls(e) || inside(e.parentElement);
return [...document.querySelectorAll("article *")]
  .filter((e) => e.getBoundingClientRect().right > width + 1 && !inside(e))
  .map((e) => e.outerHTML.slice(0, 80));
"""

pytestmark = pytest.mark.skipif(
    not (SITE / "index.html").is_file(), reason=f"no site at {SITE}: make docs, or set XONOFF_SITE"
)


def pages() -> list[Path]:
    """Pages of the site, without those that belong to the theme."""
    return sorted(path for path in SITE.rglob("*.html") if "_static" not in path.parts)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Browser:
    """A window on the site, and all that its console and its network have told."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address
        self.requests: list[str] = []
        self.faults: list[str] = []

    def open(self, page: str) -> None:
        self.driver.get(f"{self.address}/{page}")
        self.listen()

    def find(self, selector: str) -> list[Any]:
        """Elements that are seen, of a CSS selector."""
        return [found for found in self.driver.find_elements("css selector", selector) if found.is_displayed()]

    def wait(self, condition: Any) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 20).until(lambda driver: condition())

    @property
    def path(self) -> str:
        return urlsplit(self.driver.current_url).path

    def listen(self) -> None:
        self.faults += [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "INFO"]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.responseReceived" and message["params"]["response"]["status"] >= 400:
                self.faults.append(f"{message['params']['response']['status']} {message['params']['response']['url']}")

    def check(self) -> None:
        """No error, and nothing asked of anyone but the test's own server."""
        self.listen()
        assert not self.faults
        asked = {url for url in self.requests if urlsplit(url).scheme not in ("data", "blob", "chrome", "about")}
        assert asked
        assert not {url for url in asked if not url.startswith(self.address + "/")}


@pytest.fixture(params=SIZES)
def browser(request: pytest.FixtureRequest, address: str, tmp_path: Path) -> Iterator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium (extra docs)")
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no Chromium or no chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    width, height = SIZES[request.param]
    for flag in (*FLAGS, f"window-size={width},{height}", f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    if request.param == "phone":
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": {"width": width, "height": height}})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=chromedriver))
    try:
        yield Browser(driver, address)
    finally:
        driver.quit()


def entries(browser: Browser) -> list[Any]:
    """The links to the top-level pages, where this width has them."""
    if toggles := browser.find("button.primary-toggle"):
        toggles[0].click()
        browser.wait(lambda: browser.find("dialog#pst-primary-sidebar-modal nav a.nav-link"))
        return browser.find("dialog#pst-primary-sidebar-modal nav a.nav-link")
    for more in browser.find(".bd-header nav .dropdown-toggle"):
        more.click()
    return browser.find(".bd-header nav a.nav-link, .bd-header nav a.dropdown-item")


def test_navigation(browser: Browser) -> None:
    browser.open("index.html")
    titles = [entry.text for entry in entries(browser)]
    assert {"Install", "Tour", "User guide", "Reference"} <= set(titles)
    assert len(titles) >= 10
    for number, title in enumerate(titles):
        browser.open("index.html")
        entry = entries(browser)[number]
        assert entry.text == title
        target = urlsplit(entry.get_attribute("href")).path
        entry.click()
        browser.wait(lambda target=target: browser.path == target)
        assert browser.find("main h1"), f"{title}: no heading"
        browser.listen()
    browser.check()


def test_search(browser: Browser) -> None:
    browser.open("index.html")
    browser.find("button.search-button__button, button.search-button")[0].click()
    field = browser.wait(lambda: browser.find("input[type=search]"))[0]
    field.send_keys("significance\n")
    browser.wait(lambda: browser.path.endswith("search.html"))
    results = browser.wait(lambda: browser.find("ul.search li a"))
    target = urlsplit(results[0].get_attribute("href")).path
    results[0].click()
    browser.wait(lambda: browser.path == target)
    assert "significance" in browser.find("main")[0].text.lower()
    browser.check()


def test_no_page_is_wider_than_the_window(browser: Browser) -> None:
    wide = []
    for page in pages():
        browser.open(str(page.relative_to(SITE)))
        wide += [(str(page.relative_to(SITE)), found) for found in browser.driver.execute_script(BEYOND)]
    assert not wide
    browser.check()


def test_links_within_the_site(address: str) -> None:
    import re
    from html import unescape

    anchors: dict[Path, set[str]] = {}
    for page in pages():
        anchors[page] = {unescape(found) for found in re.findall(r'\bid="([^"]+)"', page.read_text())}
    dead = set()
    for page in anchors:
        for target in re.findall(r'<a\b[^>]*?href="([^"]+)"', page.read_text()):
            parts = urlsplit(unescape(target))
            if parts.scheme or parts.netloc:
                continue
            found = (page.parent / parts.path).resolve() if parts.path else page
            known = anchors.get(found)
            if not found.is_file() or (parts.fragment and known is not None and parts.fragment not in known):
                dead.add((str(page.relative_to(SITE)), target))
    assert not dead


def test_the_inventory_has_every_public_name() -> None:
    import xonoff

    inventory = pytest.importorskip("sphinx.util.inventory", reason="sphinx (extra docs)")
    found = inventory.InventoryFile.loads((SITE / "objects.inv").read_bytes(), uri="")
    documented = {name for kind, names in found.data.items() if kind.startswith("py:") for name in names}
    modules = (xonoff, xonoff.stats, xonoff.models)
    public = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    public |= {f"xonoff.OnOffAccessor.{name}" for name in dir(xonoff.OnOffAccessor) if not name.startswith("_")}
    assert sorted(public - documented) == []
