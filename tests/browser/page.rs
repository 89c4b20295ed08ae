//! What the page promises: it follows the flock, finds a target among ten thousand at once, and is
//! whole at every width, in every light, for every reader.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    driver::{Browser, Size},
    eventually,
    flock::{Flock, NAMES, SECRET},
    prefix::below_a_path,
};

/// For what takes a moment where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the last letter until the rows are those asked for; a debug build on a busy machine.
const SEARCH_MAX: Duration = Duration::from_secs(2);
/// How often the page is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const TARGETS: usize = 10_000;
const SIZES: [(&str, Size); 2] = [("desk", (1280, 800)), ("phone", (360, 780))];
const SCHEMES: [&str; 2] = ["light", "dark"];
const ENTER: &str = "\u{e007}";

/// A view is drawn, and what it shows is current.
const DRAWN: &str = "return document.querySelector('main h1') !== null \
    && document.querySelector('main .loading') === null \
    && document.querySelector('main [aria-busy]') === null \
    && document.getElementById('mark').textContent.includes('live')";
const ROWS: &str =
    "return [...document.querySelectorAll('main tbody tr')].map((row) => row.textContent)";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_the_flock_without_a_reload() {
    let mut flock = Flock::start(100).await;
    let browser = Browser::start(flock.directory.path()).await;
    browser.open(&flock.urls[0]).await;
    until(&browser, "three members are shown", &members_are(&NAMES)).await;
    browser.run("window.isTheSame = true").await;

    flock.kill(2);
    until(&browser, "one of them is gone", &members_are(&NAMES[..2])).await;
    let text = "return document.querySelector('main').textContent";
    until(&browser, "what happened is told", &format!("{text}.includes('{} (dead)')", NAMES[2]))
        .await;
    assert_eq!(browser.run("return window.isTheSame").await, true, "it was not loaded again");
    assert_eq!(browser.console().await, [] as [Value; 0]);

    flock.kill(0);
    let lost = "return document.getElementById('lost').checkVisibility() \
        && document.getElementById('mark').textContent.includes('lost')";
    until(&browser, "the page says that it is cut off", lost).await;
    let shown = browser.run(text).await;
    assert!(shown.as_str().unwrap().contains(NAMES[1]), "what was known stays in sight: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_ten_thousand_targets_is_found_as_its_name_is_typed() {
    let flock = Flock::start(TARGETS).await;
    let browser = Browser::start(flock.directory.path()).await;
    browser.open(&flock.urls[0]).await;
    until(&browser, "the page is drawn", DRAWN).await;

    browser.press("/").await;
    until(&browser, "the search has the focus", "return document.activeElement?.type === 'search'")
        .await;
    until(
        &browser,
        "all are counted",
        "return document.querySelector('.count b')?.textContent === '9,996'",
    )
    .await;
    let began = Instant::now();
    browser.press("SHELF-r7 127.1.37.2").await;
    // .2, .20 to .29 and .200 to .249.
    until(
        &browser,
        "61 are left",
        "return document.querySelector('.count b').textContent === '61'",
    )
    .await;
    let took = began.elapsed();
    assert!(took < SEARCH_MAX, "{took:?}");
    let rows = browser.run(ROWS).await;
    let rows: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
    assert_eq!(rows.len(), 61);
    assert!(rows.iter().all(|row| row.contains("127.1.37.2")), "{rows:?}");

    browser.press("17:9").await;
    browser.press(ENTER).await;
    let opened = "return document.querySelector('main h1').textContent";
    until(
        &browser,
        "the target is open",
        &format!("{opened}.includes('http://127.1.37.217:9/metrics')"),
    )
    .await;
    until(
        &browser,
        "its rules are told",
        "return document.querySelectorAll('.steps > li').length === 3",
    )
    .await;
    let changes = browser.run("return document.querySelector('.steps .new').textContent").await;
    assert!(changes.as_str().unwrap().ends_with("shelf=\"shelf-r7\""), "{changes}");

    browser.run("window.history.back()").await;
    let kept =
        "return document.querySelector('input[type=search]')?.value === 'SHELF-r7 127.1.37.217:9'";
    until(&browser, "Back finds the search as it was", kept).await;

    browser.open(&format!("{}/#/targets?job=silent", flock.urls[0])).await;
    until(&browser, "the first page is there", &format!("{ROWS} .length === 100")).await;
    browser.run("window.scrollTo(0, document.body.scrollHeight)").await;
    until(&browser, "more come as one scrolls", &format!("{ROWS} .length > 100")).await;
    assert_eq!(browser.console().await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_whole_at_every_width_in_every_light() {
    let flock = Flock::start(200).await;
    let browser = Browser::start(flock.directory.path()).await;
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&pictures).unwrap();
    let views = views(&flock).await;
    browser.open(&flock.urls[0]).await;
    let mut faults = Vec::new();
    for (place, size) in SIZES {
        for scheme in SCHEMES {
            browser.look_like(size, scheme).await;
            for (name, address) in &views {
                browser.open(&format!("{}/{address}", flock.urls[0])).await;
                let at = format!("{name}-{place}-{scheme}");
                until(&browser, &format!("{at} is drawn"), DRAWN).await;
                browser.screenshot(&pictures.join(format!("{at}.png"))).await;
                faults.extend(
                    faults_of(&browser).await.into_iter().map(|fault| format!("{at}: {fault}")),
                );
            }
        }
    }
    faults.extend(browser.console().await.iter().map(Value::to_string));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_path_prefix_the_page_works_as_well() {
    let flock = Flock::start(10).await;
    let browser = Browser::start(flock.directory.path()).await;
    let url = below_a_path(&flock.urls[0]).await;
    browser.open(&format!("{url}/")).await;
    until(&browser, "three members are shown", &members_are(&NAMES)).await;
    until(&browser, "the events are listened to", DRAWN).await;
    assert_eq!(browser.console().await, [] as [Value; 0]);

    // While a browser is here: the one rule of the page that is worth a table.
    browser.run(&format!("window.rules = '{url}/views/difference.js'")).await;
    for (before, after, expected) in [
        ("a b c", "a b c", ""),
        ("a b c", "a x c", "1: a -b +x c"),
        ("", "a", "1: - +a"),
        ("a b", "b", "1: -a b"),
        ("1 2 3 4 5 6 7 8 9", "1 2 3 4 x 6 7 8 9", "2: 2 3 4 -5 +x 6 7 8"),
        ("a 1 2 3 4 5 6 7 b", "A 1 2 3 4 5 6 7 B", "1: -a +A 1 2 3 / 6: 5 6 7 -b +B"),
        ("a 1 2 b", "A 1 2 B", "1: -a +A 1 2 -b +B"),
        ("a a a", "a a", "1: a a -a"),
    ] {
        let found = browser
            .run_async(&format!(
                "const sign = {{ gone: '-', new: '+', '': '' }}; \
                 const text = (hunk) => `${{hunk.from}}: ${{hunk.lines.map((one) => sign[one.kind] + one.text).join(' ')}}`; \
                 import(window.rules).then(({{ hunks }}) => \
                   done(hunks('{before}'.split(' '), '{after}'.split(' ')).map(text).join(' / ')))"
            ))
            .await;
        assert_eq!(found, expected, "{before} → {after}");
    }
}

/// Each by the address that someone would pass on, and with something to show.
async fn views(flock: &Flock) -> Vec<(&'static str, String)> {
    let first = |found: Value| found["items"][0].clone();
    let target = eventually("the answering target was scraped", PATIENCE, || async {
        let found = first(flock.json("/api/v1/fleet/targets?job=answering&health=up").await);
        found["id"].as_str().map(|id| format!("#/targets/{id}?job=answering"))
    })
    .await;
    let dropped = first(flock.json("/api/v1/fleet/targets?state=dropped").await);
    let event = eventually("history has begun", PATIENCE, || async {
        let found = first(flock.json("/api/v1/history?limit=1").await);
        found["at"].as_str().map(str::to_owned)
    })
    .await;
    vec![
        ("flock", "#/flock".to_owned()),
        ("targets", "#/targets".to_owned()),
        ("targets-none", "#/targets?q=nothing-is-called-so".to_owned()),
        ("targets-dropped", "#/targets?state=dropped".to_owned()),
        ("target", target),
        ("target-dropped", format!("#/targets/{}?job=silent", dropped["id"].as_str().unwrap())),
        ("history", "#/history".to_owned()),
        ("history-instant", format!("#/history?at={event}")),
        ("queues", "#/queues".to_owned()),
        ("config", "#/config".to_owned()),
    ]
}

async fn faults_of(browser: &Browser) -> Vec<String> {
    let mut faults = Vec::new();
    let wide = browser
        .run("const page = document.documentElement; return page.scrollWidth - page.clientWidth")
        .await;
    if wide.as_i64() > Some(0) {
        faults.push(format!("is {wide} pixels too wide"));
    }
    let text = browser.run("return document.documentElement.outerHTML").await;
    if text.as_str().unwrap().contains(SECRET) {
        faults.push("shows a secret".to_owned());
    }
    if let Some(problem) =
        browser.run("return document.querySelector('.problem')?.textContent").await.as_str()
    {
        faults.push(problem.to_owned());
    }
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe-core-4.14.1/axe.min.js");
    let rules = fs::read_to_string(rules).expect("tests/setup.sh has fetched the rules");
    browser.run(&rules).await;
    let found = browser.run_async("axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations))").await;
    for violation in found.as_array().unwrap() {
        if ["serious", "critical"].contains(&violation["impact"].as_str().unwrap()) {
            faults.push(format!("{}: {}", violation["help"], violation["nodes"]));
        }
    }
    faults
}

/// A condition on the table of members: these are alive, in this order, and have all the slots.
fn members_are(names: &[&str]) -> String {
    format!(
        "const rows = [...document.querySelectorAll('.members tbody tr')].map((row) => row.textContent); \
         const names = {}; \
         return rows.length === names.length && rows.every((row) => row.includes('alive')) \
           && names.every((name) => rows.some((row) => row.startsWith(name)))",
        serde_json::to_string(names).unwrap()
    )
}

/// Fails with what is seen in place of `what`.
async fn until(browser: &Browser, what: &str, condition: &str) {
    let began = Instant::now();
    while browser.run(condition).await != true {
        if began.elapsed() > PATIENCE {
            let seen =
                browser.run("return document.querySelector('main').innerText.slice(0, 2000)").await;
            panic!(
                "waited {PATIENCE:?} in vain until {what}; seen is:\n{}",
                seen.as_str().unwrap()
            );
        }
        sleep(LOOK_AGAIN).await;
    }
}
