//! Goal: the animated page of the book runs a cluster in a browser, draws it, obeys its sliders,
//! and shows what the engines do beside what theory expects. Method: the module is built and served
//! on loopback, and headless Chromium opens the page.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use compat_tests::{
    browser::Browser,
    process::{InTime as _, cargo, not_run},
    wait::BUILD,
};
use serde_json::json;

#[test]
fn the_animated_cluster_is_drawn_and_obeys_its_sliders() {
    let Some(program) = Browser::program() else {
        return not_run("there is no Chromium. Install it: apt-get install chromium");
    };
    // As in scripts/test: only machines that have the target compile for it.
    let Some(module) = module() else {
        return eprintln!("NOT RUN: rustup target add {TARGET}");
    };
    let at = serve(module);
    let mut page = Browser::start(&program);
    page.look(1280, 900, false);
    page.open(&format!("http://{at}/index.html"));
    page.wait("window.playground || element('failed').textContent");
    assert_eq!(page.eval("element('failed').textContent"), json!(""));
    page.eval(HELPERS);

    points_and_packets_are_drawn(&mut page);
    news_spreads_as_theory_expects(&mut page);
    loss_delays_news_and_moves_probes_to_tcp(&mut page);
    a_click_stops_and_starts_a_node(&mut page);
    a_partition_splits_the_cluster(&mut page);
    assert!(page.picture().len() > 20_000);
    // A hint about speed, because this test reads the canvas.
    let troubles: Vec<_> =
        page.troubles().iter().filter(|text| !text.contains("willReadFrequently")).collect();
    assert!(troubles.is_empty(), "{troubles:?}");
}

fn points_and_packets_are_drawn(page: &mut Browser) {
    assert_eq!(page.eval("slide('speed', 1)"), json!("1 % of real time"));
    let drawn = page.eval("element('again').click(); draw(); [[...new Set(colours())], inside()]");
    assert_eq!(drawn, json!([["#39629b"], 0]), "running points, and no packets yet");
    assert_eq!(page.eval("places.length"), json!(100));
    let theory = page.eval("inked('curve', [119, 119, 119])");
    assert!(theory.as_u64() > Some(100), "{theory} pixels of the curve by theory");
    let lines =
        page.eval("[1, 2, 3, 4, 5].reduce((sum) => (advance(200000), draw(), sum + inside()), 0)");
    assert!(lines.as_u64() > Some(1000), "{lines} pixels of lines between the nodes");
}

fn news_spreads_as_theory_expects(page: &mut Browser) {
    let seen = page.eval(
        "element('tell').click(); advance(3e6); draw();
         ({ state: playground.state, known: element('known').textContent,
            reached: element('reached').textContent, colours: [...new Set(colours())],
            times: `${news.half.toFixed(2)} s, ${news.all.toFixed(2)} s`,
            measured: inked('curve', [47, 143, 78]) })",
    );
    let state = &seen["state"];
    assert_eq!((&state["knowing"], &seen["known"]), (&json!(100), &json!("100 of 100")), "{seen}");
    assert_eq!(seen["colours"], json!(["#2f8f4e"]), "all know the news");
    assert_eq!(seen["reached"], seen["times"]);
    assert!(seen["measured"].as_u64() > Some(100), "the curve is drawn: {seen}");
    // A single spread depends on the moment; the mean does not.
    let ratios = page.eval(
        "(() => {
           const mean = { half: 0, all: 0 };
           for (let round = 0; round < 40; round++) {
             tell();
             advance(3e6 + round * 37000);
             for (const share in mean) mean[share] += news[share] / 40;
           }
           return [mean.half / theory.half, mean.all / theory.all];
         })()",
    );
    for ratio in ratios.as_array().expect("two ratios") {
        assert!((0.7..1.3).contains(&ratio.as_f64().expect("a number")), "{ratios}");
    }
}

fn loss_delays_news_and_moves_probes_to_tcp(page: &mut Browser) {
    let knowing = page.eval("slide('loss', 50); tell(); advance(20e6); playground.state.knowing");
    assert!(knowing.as_u64() >= Some(90), "half of the datagrams are lost: {knowing} know");
    // Nodes that gossip missed learn it by their next full sync, which is over TCP.
    let knowing = page.eval("advance(45e6); playground.state.knowing");
    assert_eq!(knowing, json!(100), "after a sync of each node");
    let mut streams = |percent: u32| {
        assert_eq!(page.eval(&format!("slide('loss', {percent})")), json!(format!("{percent} %")));
        let count = "trail = []; advance(10e6); trail.filter((packet) => packet[3] === 2).length";
        let count = page.eval(count).as_u64().unwrap();
        page.eval("draw()");
        count
    };
    let (healthy, lossy) = (streams(0), streams(90));
    assert!(lossy > 5 * healthy.max(10), "{healthy} streams, {lossy} with loss");
    page.eval("slide('loss', 0)");
}

/// Bits of a node: 1 runs, 8 is considered dead by some node.
fn a_click_stops_and_starts_a_node(page: &mut Browser) {
    let states = page.eval("slide('nodes', 30); [places.length, bits(9)]");
    assert_eq!(states, json!([30, vec![1; 30]]));
    let stopped = page.eval("clickOn(7); advance(40e6); draw(); [bits(9)[7], colours()[7]]");
    assert_eq!(stopped, json!([8, "#bbbbbb"]));
    let back = page.eval("clickOn(7); advance(10e6); draw(); [bits(9)[7], colours()[7]]");
    assert_eq!(back, json!([1, "#39629b"]));
}

fn a_partition_splits_the_cluster(page: &mut Browser) {
    assert_eq!(page.eval("slide('cut', 30)"), json!("30 %"));
    let seen = page.eval(
        "advance(35e6); draw(); [bits(8).filter(Boolean).length, element('false').textContent]",
    );
    assert!(seen[0].as_u64() >= Some(27), "considered dead by the other side: {seen}");
    // 9 nodes see 21 others fail, and 21 see 9.
    let views: u64 = seen[1].as_str().unwrap().parse().unwrap();
    assert!(views >= 9 * 21 * 2 * 9 / 10, "{seen}");
    assert_eq!(page.eval("slide('cut', 0)"), json!("0 %"));
}

/// What a person does to the page, and what the page shows. The page lets time pass by itself, but
/// not during one of these calls.
const HELPERS: &str = r"
    var slide = (name, value) => {
      element(name).value = value;
      element(name).dispatchEvent(new Event('input'));
      return element(`${name}-is`).textContent;
    };
    var bits = (mask) => [...nodes()].map((bits) => bits & mask);
    var context = (id) => element(id).getContext('2d');
    var colours = () => places.map(([x, y]) => {
      const at = [x, y].map((of) => Math.round(of * element('field').width));
      const rgb = [...context('field').getImageData(...at, 1, 1).data].slice(0, 3);
      return '#' + rgb.map((part) => part.toString(16).padStart(2, '0')).join('');
    });
    // Pixels that are not empty in the middle of the ring of nodes.
    var inside = () => {
      const data = context('field').getImageData(250, 250, 400, 400).data;
      return data.filter((value, at) => at % 4 === 3 && value > 0).length;
    };
    // Pixels of about this colour.
    var inked = (id, colour) => {
      const data = context(id).getImageData(0, 0, element(id).width, element(id).height).data;
      let found = 0;
      for (let at = 0; at < data.length; at += 4) {
        const near = colour.every((part, of) => Math.abs(part - data[at + of]) < 12);
        if (data[at + 3] > 128 && near) found++;
      }
      return found;
    };
    var clickOn = (at) => {
      const box = element('field').getBoundingClientRect();
      const [x, y] = places[at];
      const point = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
      element('field').dispatchEvent(new MouseEvent('click', point));
    };
    0";

/// The module, built; `None` if this machine has no libraries for its target.
fn module() -> Option<PathBuf> {
    let libraries =
        Command::new("rustc").args(["--print=target-libdir", "--target", TARGET]).output_in_time();
    if !Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return None;
    }
    let test = std::env::current_exe().expect("the path of the test");
    let dir = test.ancestors().nth(3).expect("a target directory").join("playground");
    // Quick to build. `scripts/book` builds the module of the book by the profile for releases.
    let built = cargo()
        .args(["build", "--quiet", "--locked", "--target", TARGET])
        .args(["--config", "profile.dev.opt-level=0", "--config", "profile.dev.debug=false"])
        .arg("--manifest-path")
        .arg(root().join("compat-tests/playground/Cargo.toml"))
        .arg("--target-dir")
        .arg(&dir)
        .output_within(BUILD);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(dir.join(TARGET).join("debug/playground.wasm"))
}

/// Serves the page until the test ends.
fn serve(module: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let request: Vec<_> = BufReader::new(&stream)
                .lines()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let path = request.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
            let page = root().join("docs/playground");
            let (status, kind, file) = match path {
                "/index.html" => ("200 OK", "text/html", page.join("index.html")),
                "/playground.js" => ("200 OK", "text/javascript", page.join("playground.js")),
                "/playground.wasm" => ("200 OK", "application/wasm", module.clone()),
                _ => ("404 Not Found", "text/plain", PathBuf::from("/dev/null")),
            };
            let body = fs::read(file).expect("a part of the page");
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    at
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace root")
}

const TARGET: &str = "wasm32-unknown-unknown";
