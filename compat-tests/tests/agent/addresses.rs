//! Goal: every way to write an address does with our agent what it does with Go's. Method: in a
//! network namespace with a hosts file of its own, both programs are started with each address for
//! each purpose; either both listen on the same sockets and are reached, or both fail alike.

use std::{fs, net::UdpSocket, process::Command, time::Duration};

use compat_tests::{
    alone::in_namespaces,
    net::Net,
    peer::Peer,
    process::{BOTH, InTime as _, Kind, Process, serf},
    wait::poll,
};

// parity: config: Addresses: families, zones, names, services, short and octal forms
#[test]
fn addresses_mean_what_they_mean_to_go() {
    let hosts = tempfile::NamedTempFile::new().unwrap();
    fs::write(hosts.path(), HOSTS).unwrap();
    let script = format!(
        "mount --make-rprivate / && mount --bind {} /etc/hosts && ip link set lo up \
         && ip link add d0 type veth peer name d1 && ip addr add 10.9.9.1/24 dev d0 \
         && ip -6 addr add fd00:9::1/64 dev d0 nodad && ip link set d0 up && ip link set d1 up \
         && ip link add e0 type veth peer name e1 && ip -6 addr add fd00:8::1/64 dev e0 nodad \
         && ip link set e0 up && ip link set e1 up && ip link add f0 type veth peer name f1 \
         && ip route add 224.0.0.0/4 dev lo metric 9",
        hosts.path().display()
    );
    in_namespaces(&script, module_path!(), "the_table_of_addresses", PARTS);
}

#[test]
#[ignore = "runs inside the namespaces that addresses_mean_what_they_mean_to_go makes"]
fn the_table_of_addresses() {
    let part: usize = std::env::var("PART").ok().and_then(|part| part.parse().ok()).unwrap_or(0);
    let mut different = Vec::new();
    let (mut count, mut works) = (0, 0);
    for case in CASES.iter().skip(part).step_by(PARTS) {
        let [theirs, mut ours] = BOTH.map(|kind| outcome(kind, *case));
        count += 1;
        works += usize::from(theirs.starts_with("up"));
        // On the loopback ours find each other, too: docs/differences.md.
        let beyond = matches!(case, (For::Mdns | For::MdnsOnInterface, "lo"));
        let want = if beyond { theirs.replace("true false", "true true") } else { theirs.clone() };
        // A multicast can be lost, or come late: what differs must do so each time.
        for _ in 0..2 {
            let multicast = matches!(case, (For::Mdns | For::MdnsOnInterface, _));
            if multicast && ours != want {
                ours = outcome(Kind::Ours, *case);
            }
        }
        if ours != want {
            different.push(format!("{case:?}\n  ours:   {ours}\n  theirs: {theirs}"));
        }
    }
    println!("{count} addresses, {works} work");
    assert!(count >= 20 && works >= 10, "{count} addresses, {works} work");
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// Go's node announces port 0, for which each member takes its own port, and then reports a name
/// conflict with itself.
#[test]
fn port_zero_is_announced_as_the_port_that_is_bound() {
    let net = Net::new();
    let ports = BOTH.map(|kind| {
        let [ip, other] = [1, 2].map(|last| net.ip(last + 2 * kind as u8));
        let flags = ["-bind", &format!("{ip}:8946"), "-advertise", &format!("{ip}:0")];
        let a = Peer::start(kind, "a", &ip, &flags);
        let port_at = |peer: &Peer| {
            let members = peer.ask(|client| async move { client.members().await });
            members.into_iter().find(|member| member.name == "a").map(|member| member.port)
        };
        let alone = port_at(&a);
        let seed = format!("{ip}:8946");
        let b = Peer::start(Kind::Go, "b", &other, &["-join", &seed]);
        (alone, port_at(&b))
    });
    assert_eq!(ports, [(Some(0), Some(7946)), (Some(8946), Some(8946))], "left: Go, right: ours");
}

/// What an address is for.
#[derive(Clone, Copy, Debug)]
enum For {
    Bind,
    /// With `-iface d0`.
    BindOnInterface,
    /// The name of an interface: `d0` has both families, `e0` IPv6 alone, `f0` nothing.
    Interface,
    /// To bind on a host that has no address, and further flags: of two faults Go names one.
    Lonely,
    /// An interface where somebody of Go's is to be found by mDNS, and one to bind alike.
    Mdns,
    MdnsOnInterface,
    Advertise,
    Rpc,
    /// The agent's RPC is on all addresses, and this is where the client looks for it.
    Client,
    /// As [`Self::Client`], with the RPC on 127.0.0.1 alone.
    ClientOfFour,
    /// A second agent joins the first, which is bound to all addresses.
    Join,
    /// As [`Self::Join`], with both on 127.0.0.1 alone.
    JoinFour,
    Statsd,
    Statsite,
}

type Case = (For, &'static str);

const HOSTS: &str = "127.0.0.1 localhost four\n::1 localhost ip6-localhost six\n\
                     10.9.9.1 both\nfd00:9::1 both\nfd00:9::1 mixed\n10.9.9.1 mixed\n";

const CASES: &[Case] = &[
    (For::Bind, "0.0.0.0"),
    (For::Bind, "0.0.0.0:8946"),
    (For::Bind, "[::]"),
    (For::Bind, "[::]:8946"),
    (For::Bind, ":8946"),
    (For::Bind, "127.0.0.1"),
    (For::Bind, "127.0.0.1:8946"),
    (For::Bind, "127.0.0.1:+8946"),
    (For::Bind, "127.0.0.1:http-alt"),
    (For::Bind, "127.0.0.1:HTTP"),
    (For::Bind, "127.0.0.1:no-such-service"),
    (For::Bind, "127.0.0.1:70000"),
    (For::Bind, "127.0.0.1:-1"),
    (For::Bind, "[::1]:8946"),
    (For::Bind, "::1"),
    (For::Bind, "[::1"),
    (For::Bind, "[::ffff:127.0.0.1]:8946"),
    (For::Bind, "[fd00:9::1]"),
    (For::Bind, "[fe80::1%d0]:8946"),
    (For::Bind, "[fd00:9::1%d0]:8946"),
    (For::Bind, "[::1%nope0]:8946"),
    (For::Bind, "localhost"),
    (For::Bind, "localhost:8946"),
    (For::Bind, "[localhost]:8946"),
    (For::Bind, "both"),
    (For::Bind, "mixed"),
    (For::Bind, "six"),
    (For::Bind, "no-such-host"),
    (For::Bind, "127.1"),
    (For::Bind, "0177.0.0.1"),
    (For::Bind, "127.0.0.01"),
    (For::Bind, "2130706433"),
    (For::Bind, "192.0.2.1"),
    (For::BindOnInterface, "0.0.0.0:8946"),
    (For::BindOnInterface, "[::]:8946"),
    (For::BindOnInterface, ":8946"),
    (For::BindOnInterface, "both:8946"),
    (For::BindOnInterface, "localhost:8946"),
    (For::Interface, "d0"),
    (For::Interface, "e0"),
    (For::Interface, "f0"),
    (For::Interface, "lo"),
    (For::Interface, "nope0"),
    (For::Interface, ""),
    (For::Lonely, "0.0.0.0"),
    (For::Lonely, "0.0.0.0 -snapshot /nonexistent/s"),
    (For::Lonely, "0.0.0.0 -protocol 1"),
    (For::Lonely, "0.0.0.0 -encrypt QUJD"),
    (For::Lonely, "0.0.0.0 -rpc-addr 7373"),
    (For::Lonely, "0.0.0.0 -advertise 127.0.0.1 -snapshot /nonexistent/s"),
    (For::Mdns, "d0"),
    (For::Mdns, "d0 -mdns-disable-ipv4"),
    (For::Mdns, "d0 -mdns-disable-ipv6"),
    (For::Mdns, "d0 -mdns-disable-ipv4 -mdns-disable-ipv6"),
    (For::Mdns, "e0"),
    (For::Mdns, "e0 -mdns-disable-ipv6"),
    (For::Mdns, "f0"),
    (For::Mdns, "lo"),
    (For::Mdns, "nope0"),
    (For::MdnsOnInterface, "d0"),
    (For::MdnsOnInterface, "e0"),
    (For::MdnsOnInterface, "lo"),
    (For::MdnsOnInterface, "nope0"),
    (For::Advertise, "[::1]:7946"),
    (For::Advertise, "127.0.0.1"),
    (For::Advertise, "localhost"),
    (For::Advertise, "mixed:7946"),
    (For::Advertise, ":7946"),
    (For::Advertise, "no-such-host"),
    (For::Advertise, "[fd00:9::1%d0]:7946"),
    (For::Advertise, "127.1"),
    (For::Rpc, "0.0.0.0:7373"),
    (For::Rpc, "[::]:7373"),
    (For::Rpc, ":7373"),
    (For::Rpc, "localhost:7373"),
    (For::Rpc, "[localhost]:7373"),
    (For::Rpc, "mixed:7373"),
    (For::Rpc, "six:7373"),
    (For::Rpc, "127.0.0.1:http-alt"),
    (For::Rpc, "127.0.0.1"),
    (For::Rpc, "127.0.0.1:70000"),
    (For::Rpc, "127.1:7373"),
    (For::Rpc, "no-such-host:7373"),
    (For::Rpc, "192.0.2.1:7373"),
    (For::Rpc, "[::ffff:127.0.0.1]:7373"),
    (For::Rpc, "[::1%lo]:7373"),
    (For::Client, "127.0.0.1:7373"),
    (For::Client, "[::1%lo]:7373"),
    (For::Client, "[::]:7999"),
    (For::Client, "0.0.0.0:7999"),
    (For::Client, ":7999"),
    (For::ClientOfFour, "[::]:7373"),
    (For::ClientOfFour, ":7373"),
    (For::ClientOfFour, "[::1]:7373"),
    (For::ClientOfFour, "six:7373"),
    (For::Client, "[::1]:7373"),
    (For::Client, "localhost:7373"),
    (For::Client, "six:7373"),
    (For::Client, "mixed:7373"),
    (For::Client, "0.0.0.0:7373"),
    (For::Client, "[::]:7373"),
    (For::Client, ":7373"),
    (For::Client, "127.1:7373"),
    (For::Client, "no-such-host:7373"),
    (For::Client, "127.0.0.1:7374"),
    (For::Client, "127.0.0.1:no-such-service"),
    (For::Join, "127.0.0.1"),
    (For::Join, "[::1]:7946"),
    (For::Join, "::1"),
    (For::Join, "localhost"),
    (For::Join, "mixed"),
    (For::Join, "six:7946"),
    (For::Join, "0.0.0.0:7946"),
    (For::Join, "[::]:7946"),
    (For::Join, ":7946"),
    (For::Join, "[::]:7999"),
    (For::Join, "0.0.0.0:7999"),
    (For::JoinFour, "[::]:7946"),
    (For::JoinFour, "0.0.0.0:7946"),
    (For::JoinFour, "[::1]:7946"),
    (For::Join, "[::1%lo]:7946"),
    (For::Join, "a/127.0.0.1:7946"),
    (For::Join, "127.1:7946"),
    (For::Join, "no-such-host"),
    (For::Join, "127.0.0.1:http-alt"),
    (For::Statsd, "127.0.0.1:8125"),
    (For::Statsd, "[::1]:8125"),
    (For::Statsd, "localhost:8125"),
    (For::Statsd, "four:8125"),
    (For::Statsd, ":8125"),
    (For::Statsite, "127.0.0.1:8125"),
    (For::Statsite, "six:8125"),
    (For::Statsite, ":8125"),
];

/// `up` with the sockets and whether it is reached, or `exit` with the last line.
fn outcome(kind: Kind, (what, text): Case) -> String {
    match what {
        For::Bind => agent(kind, &["-bind", text, "-rpc-addr", RPC]),
        For::BindOnInterface => agent(kind, &["-iface", "d0", "-bind", text, "-rpc-addr", RPC]),
        For::Lonely => lonely(kind, text),
        For::Interface => agent(kind, &["-iface", text, "-rpc-addr", RPC]),
        For::Mdns => found(kind, "-mdns-iface", text),
        For::MdnsOnInterface => found(kind, "-iface", text),
        For::Advertise => agent(kind, &["-advertise", text, "-rpc-addr", RPC]),
        For::Rpc => agent(kind, &["-bind", "127.0.0.1", "-rpc-addr", text]),
        For::Client => client(kind, "0.0.0.0:7373", text),
        For::ClientOfFour => client(kind, RPC, text),
        For::Join => join(kind, ["-advertise", "127.0.0.1:7946"], "[::1]:8946", text),
        For::JoinFour => join(kind, ["-bind", "127.0.0.1:7946"], "127.0.0.1:8946", text),
        For::Statsd => sink(kind, "statsd_addr", text),
        For::Statsite => sink(kind, "statsite_addr", text),
    }
}

fn start(kind: Kind, args: &[&str]) -> (Process, bool) {
    start_as(kind, "a", args)
}

fn start_as(kind: Kind, name: &str, args: &[&str]) -> (Process, bool) {
    let mut command = Command::new(kind.program());
    command.args(["agent", "-node", name]).args(args);
    let mut process = Process::start(command);
    let up = poll(PATIENCE, || {
        let running = process.out().contains("Serf agent running!");
        if running { Some(true) } else { process.try_code().map(|_| false) }
    });
    (process, up.expect("an agent runs or ends"))
}

fn agent(kind: Kind, args: &[&str]) -> String {
    let (mut process, up) = start(kind, args);
    if !up {
        process.wait();
        return ended(&process.out());
    }
    let rpc = sockets("-lnt").into_iter().find(|at| !at.ends_with("946")).unwrap_or_default();
    let rpc = rpc.replace('*', "127.0.0.1");
    let members = serf(kind, if args.contains(&RPC) { RPC } else { &rpc }, &["members"]).out;
    let banner: Vec<_> = process
        .out()
        .lines()
        .filter(|line| line.contains(" addr: ") || line.contains("Using interface"))
        .map(|line| line.trim().to_owned())
        .collect();
    // Go announces `::`, which nobody can reach: docs/differences.md.
    let members = members.replace("[::]:", "10.9.9.1:");
    format!("up {:?} {:?} {banner:?} {members:?}", sockets("-lnt"), sockets("-lnu"))
}

/// Whether an agent finds one of Go's, that was there before, by mDNS.
fn found(kind: Kind, flag: &str, text: &str) -> String {
    let on_interface = flag == "-iface";
    let more: Vec<&str> = [flag].into_iter().chain(text.split(' ')).collect();
    let both = |bind: [&'static str; 2], rpc: &'static str| {
        let mut args = vec!["-discover", "found", "-rpc-addr", rpc];
        args.extend(bind);
        args.extend(&more);
        args
    };
    // The address of the interface, and another port.
    let (mine, others) = if on_interface {
        (["-tag", "a=b"], ["-bind", "0.0.0.0:8946"])
    } else {
        (["-bind", "10.9.9.1"], ["-bind", "10.9.9.1:8946"])
    };
    let (_other, there) = start_as(Kind::Go, "other", &both(others, "127.0.0.1:7374"));
    let (mut process, up) = start(kind, &both(mine, RPC));
    if !up {
        process.wait();
        return format!("{there} {}", ended(&process.out()));
    }
    let listener = "Starting mDNS listener on interface ";
    let listens = poll(Duration::from_secs(5), || process.out().contains(listener).then_some(()));
    let members = poll(Duration::from_secs(6), || {
        let members = serf(kind, RPC, &["members"]).out;
        members.contains("other ").then_some(())
    });
    format!("up {there} {:?} {:?}", listens.is_some(), members.is_some())
}

fn lonely(kind: Kind, text: &str) -> String {
    let mut command = Command::new("unshare");
    command.arg("-n").arg(kind.program());
    command.args(["agent", "-node", "a", "-bind"]).args(text.split(' '));
    let output = command.output_in_time();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn client(kind: Kind, rpc: &str, text: &str) -> String {
    let (process, up) = start(kind, &["-bind", "127.0.0.1", "-rpc-addr", rpc]);
    assert!(up);
    let said = serf(kind, text, &["members"]);
    // The host that the agent's log names.
    let host = || {
        let out = process.out();
        let (_, client) = out.split_once("Accepted client: ")?;
        Some(client.lines().next()?.rsplit_once(':')?.0.to_owned())
    };
    let host =
        if said.code == Some(0) { poll(PATIENCE, host).expect("it is logged") } else { "".into() };
    format!("up {:?} {host} {}", said.code, without_name_server(said.out.trim()))
}

fn join(kind: Kind, of_first: [&str; 2], bind: &str, text: &str) -> String {
    let (_first, up) = start(kind, &[of_first[0], of_first[1], "-rpc-addr", RPC]);
    assert!(up);
    let mut command = Command::new(kind.program());
    let args = ["agent", "-node", "b", "-bind", bind, "-rpc-addr", "127.0.0.1:7374"];
    command.args(args).args(["-join", text]);
    let mut second = Process::start(command);
    let joined = poll(PATIENCE, || {
        let joined = second.out().contains("Join completed");
        if joined { Some(true) } else { second.try_code().map(|_| false) }
    });
    if joined == Some(true) {
        // The first answers to an address of the other family.
        let seen = poll(PATIENCE, || {
            let members = serf(kind, RPC, &["members", "-status", "alive"]).out;
            (members.lines().count() == 2).then_some(())
        });
        return format!("up {}", seen.is_some());
    }
    second.wait();
    let out = second.out();
    let reason = out.lines().rfind(|line| line.contains("* ")).unwrap_or(&out);
    let reason = without_name_server(reason);
    // The rest of the words is Go's name of a step.
    let reason = reason.find("dial ").map_or_else(
        || reason.rsplit_once(": ").map_or(&*reason, |(_, reason)| reason),
        |at| &reason[at..],
    );
    format!("exit {reason}")
}

/// Which name server was asked, and that none is reached here, is the machine's business.
pub(crate) fn without_name_server(line: &str) -> String {
    let unreached = line.replace("Temporary failure in name resolution", "no such host");
    let Some((before, after)) = line.split_once(" on ") else { return unreached };
    let asked = before.contains("lookup ") && after.contains(":53");
    if asked { format!("{before}: no such host") } else { unreached }
}

/// A sink that got something: UDP alone is listened to, TCP is seen by its connection.
fn sink(kind: Kind, key: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.json");
    fs::write(&file, format!(r#"{{"{key}":"{text}"}}"#)).unwrap();
    let udp = UdpSocket::bind("[::]:8125").unwrap();
    let tcp = std::net::TcpListener::bind("[::]:8125").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let path = file.to_str().unwrap();
    let (_process, up) =
        start(kind, &["-bind", "127.0.0.1", "-rpc-addr", RPC, "-config-file", path]);
    assert!(up);
    let from = if key == "statsd_addr" {
        udp.recv_from(&mut [0; 2048]).ok().map(|(_, from)| from.ip().to_canonical())
    } else {
        let from = poll(Duration::from_secs(4), || tcp.accept().ok());
        from.map(|(_, from)| from.ip().to_canonical())
    };
    format!("up {from:?}")
}

/// The last line that says something, without what the resolver adds.
fn ended(out: &str) -> String {
    let line = out.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let line = without_name_server(line);
    let reason = line.rsplit_once(": ").map_or(line.as_str(), |(_, reason)| reason);
    // The words of the system's errors are another test's.
    let reason = reason.split(" (os error").next().unwrap_or_default().to_lowercase();
    let start = line.split(": ").next().unwrap_or_default();
    format!("exit {start}: {reason}")
}

fn sockets(flags: &str) -> Vec<String> {
    let output = Command::new("ss").args(["-H", flags]).output_in_time();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut found: Vec<_> =
        text.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect();
    found.sort();
    found
}

/// Namespaces at a time.
const PARTS: usize = 4;
const RPC: &str = "127.0.0.1:7373";
const PATIENCE: Duration = Duration::from_secs(30);
