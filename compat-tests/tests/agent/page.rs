//! Goal: a person who opens the agent's address in a browser sees the cluster, by token, by
//! keyboard, on a phone, and with 10,000 members. Method: headless Chromium reads the page.

use std::fs;

use compat_tests::{
    browser::Browser,
    net::Net,
    peer::Peer,
    process::{Kind, not_run},
};
use serde_json::json;

fn browser() -> Option<Browser> {
    let program = Browser::program();
    if program.is_none() {
        not_run("there is no Chromium. Install it: apt-get install chromium");
    }
    program.map(|program| Browser::start(&program))
}

/// What the list shows of a member.
fn row(name: &str, part: &str) -> String {
    format!(
        "[...document.querySelectorAll('.row')].find(row => row.dataset.name === {name:?})\
             ?.querySelector({part:?})?.textContent"
    )
}

#[test]
fn the_page_shows_the_cluster_to_who_has_the_token() {
    let Some(mut browser) = browser() else { return };
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let at = format!("{}:8080", net.ip(2));
    let config = json!({ "rpc_auth": "s3cret", "http_addr": at, "tags": { "<b>x": "<i>y</i>" } });
    fs::write(dir.path().join("a.json"), config.to_string()).unwrap();
    let flags = ["-config-file", "a.json", "-retry-join", &format!("{}:7946", net.ip(3))];
    let a = Peer::start_in(Kind::Ours, "a", &net.ip(2), &flags, dir.path());
    browser.look(1280, 800, true);
    browser.open(&format!("http://{at}/"));
    browser.wait("document.getElementById('ask').open");
    // Health is for everybody, members are not.
    browser.wait("document.getElementById('reasons').textContent.startsWith('alone: ')");
    assert_eq!(browser.eval("document.querySelectorAll('.row').length"), json!(0));
    for token in ["wrong", "s3cret"] {
        browser.wait("document.activeElement.id === 'token'");
        browser.type_text(token);
        browser.press("Enter");
        if token == "wrong" {
            browser.wait("document.getElementById('wrong').textContent !== ''");
        }
    }
    browser.wait("document.getElementById('link').textContent === 'live'");
    browser.wait(&format!("{} === 'alive'", row("a", ".status")));
    let b = Peer::start(Kind::Go, "b", &net.ip(3), &["-join", &a.addr, "-tag", "role=web"]);
    browser.wait(&format!("{} === 'alive'", row("b", ".status")));
    browser.wait("document.getElementById('health').textContent === 'ready'");
    browser.wait("document.getElementById('reasons').hidden");
    // Coordinates come with the first probes.
    browser.wait("refresh() && coordinates.size === 2");
    browser.wait(&format!("/ms$/.test({})", row("b", ".rtt")));
    let shout = ["-rpc-auth", "s3cret", "<b>deploy", "<script>x</script>"];
    a.ok(&[&["event"], &shout[..]].concat());
    browser.wait("document.querySelector('#log strong').textContent === '<b>deploy'");
    // An event that has the name of a change of members does not look like one.
    a.ok(&["event", "-rpc-auth", "s3cret", "failed", "b"]);
    browser.wait("document.querySelector('#log strong').textContent === 'failed'");
    let looks = "document.querySelector('#log .kind').textContent \
                 + document.querySelector('#log strong').className";
    assert_eq!(browser.eval(looks), json!("user"));
    let strange = "document.querySelectorAll('#log b, #log script, .row b, .row i').length";
    assert_eq!(browser.eval(strange), json!(0));
    // By keyboard: the filter, the first of the list, its details.
    browser.press("/");
    browser.type_text("role=web");
    browser.wait("shown.length === 1 && document.getElementById('shown').textContent === '1 of 2'");
    browser.eval("document.getElementById('rows').focus()");
    browser.press("ArrowDown");
    browser.press("Enter");
    browser.wait("document.getElementById('detail').open");
    browser.wait("document.getElementById('who').textContent === 'b'");
    browser.press("Escape");
    drop(b);
    browser.wait(&format!("{} === 'failed'", row("b", ".status")));
    browser.wait("document.getElementById('health').textContent === 'not ready'");
    let _b = Peer::start(Kind::Go, "b", &net.ip(3), &["-join", &a.addr, "-tag", "role=web"]);
    browser.wait(&format!("{} === '1'", row("b", ".flaps")));
    assert!(browser.picture().len() > 20_000);
    assert_eq!(browser.troubles(), [""; 0]);
    drop(a);
    browser.wait("/^offline since /.test(document.getElementById('link').textContent)");
}

#[test]
fn ten_thousand_members_are_shown_and_nothing_is_wider_than_a_phone() {
    let Some(mut browser) = browser() else { return };
    let net = Net::new();
    let at = format!("{}:8080", net.ip(2));
    let _a = Peer::start(Kind::Ours, "a", &net.ip(2), &["-http-addr", &at]);
    browser.look(390, 800, false);
    browser.open(&format!("http://{at}/"));
    browser.wait(&format!("{} === 'alive'", row("a", ".status")));
    browser.eval(
        "refresh = async () => {};
         for (let n = 0; n < 10000; n++) {
           const name = `node-${n}`;
           coordinates.set(name, { vec: [n % 7 / 50, n % 5 / 50, 0, 0, 0, 0, 0, 0], error: 1,
             adjustment: 0, height: 0.001 });
           memberEvent('member-join', [{ name, addr: '10.0.0.1', port: 7946, status: 'alive',
             tags: { rack: `r${n % 40}`, 'a-long-tag': 'x'.repeat(200) } }]);
         }
         placeAll(); changed()",
    );
    browser.wait("document.getElementById('shown').textContent === '10,001 of 10,001'");
    let elements = browser.eval("document.querySelectorAll('.row').length");
    assert!(elements.as_u64().is_some_and(|count| (5..100).contains(&count)), "{elements} rows");
    browser.eval("document.getElementById('rows').scrollTop = 1e9");
    browser.wait(&format!("{} === 'alive'", row("node-9999", ".status")));
    browser.eval(
        "document.getElementById('filter').value = 'rack=r39 node-99';
         document.getElementById('filter').dispatchEvent(new Event('input'))",
    );
    browser.wait("shown.length === 4");
    for view in ["members", "map", "events"] {
        browser.eval(&format!("document.querySelector('nav [data-go={view}]').click()"));
        browser.wait(&format!("document.getElementById('{view}').clientWidth > 300"));
        let width = browser.eval("document.documentElement.scrollWidth");
        assert_eq!(width, json!(390), "{view}");
    }
    browser.wait("document.getElementById('log').children.length === LOG_MAX");
    assert_eq!(browser.troubles(), [""; 0]);
}
