//! Goal: seeds are found by names and service records, whatever they are at the time. Method: in a
//! namespace whose resolver asks a name server of this test, which changes its answers.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

use compat_tests::{
    alone::in_namespaces,
    peer::Peer,
    process::{Kind, serf},
};
use ruserf::serf::OldEvents;
use simple_dns::{
    CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, RData, SRV},
};

#[test]
fn seeds_are_looked_up_again_at_each_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let resolv = file("resolv.conf", "nameserver 127.0.0.53\nsearch test\noptions ndots:1\n");
    let hosts = file("hosts", "127.0.0.1 localhost\n");
    let switch = file("nsswitch.conf", "hosts: files dns\n");
    let script = format!(
        "mount --make-rprivate / && mount --bind {resolv} \"$(readlink -f /etc/resolv.conf)\" \
         && mount --bind {hosts} /etc/hosts && mount --bind {switch} /etc/nsswitch.conf \
         && ip link set lo up"
    );
    in_namespaces(&script, module_path!(), "inside_seeds_follow_the_name_server", 1);
}

#[test]
#[ignore = "runs inside the namespace that seeds_are_looked_up_again_at_each_attempt makes"]
fn inside_seeds_follow_the_name_server() {
    let dir = tempfile::tempdir().unwrap();
    let start = |kind, name: &str, ip: &str, args: &[&str]| {
        let quick = ["-retry-interval", "1s"];
        Peer::start(kind, name, ip, &[&quick[..], args].concat())
    };
    let seed = start(Kind::Ours, "seed", "127.0.1.1", &[]);
    // A name server that does not answer is not a wrong name.
    let said = serf(Kind::Ours, &seed.rpc, &["join", "serf.test"]);
    assert!(said.out.contains("lookup serf.test: Temporary failure"), "{said:?}");
    let zone = Zone::serve();
    // A name that is not there yet, then one with a dead address in front of the live one.
    let by_name = start(Kind::Ours, "by-name", "127.0.1.2", &["-retry-join", "dns+serf:7946"]);
    by_name.wait_for_line("lookup serf: no such host");
    zone.set("serf.test.", &[Answer::A("127.0.1.99"), Answer::A("127.0.1.1")]);
    by_name.wait_for_members(2);
    // Service records, whose targets have addresses; found again and again once joined.
    zone.set("node1.test.", &[Answer::A("127.0.1.2")]);
    zone.set("_serf._udp.test.", &[Answer::Srv(1, "node1.test.")]);
    let srv = ["-retry-join", "dnssrv+_serf._udp.test", "-rejoin-interval", "1s"];
    let by_srv = start(Kind::Ours, "by-srv", "127.0.1.3", &srv);
    by_srv.wait_for_members(3);
    let newcomer = start(Kind::Go, "newcomer", "127.0.1.4", &[]);
    zone.set("node2.test.", &[Answer::A("127.0.1.4")]);
    zone.set("_serf._udp.test.", &[Answer::Srv(2, "node2.test."), Answer::Srv(1, "node1.test.")]);
    newcomer.wait_for_members(4);
    // The command looks names up by itself: an agent of Go's knows none of this.
    let lone = start(Kind::Go, "lone", "127.0.1.5", &[]);
    let said = serf(Kind::Ours, &lone.rpc, &["join", "dnssrvnoa+_serf._udp"]);
    assert_eq!(said.out, "Successfully joined cluster by contacting 2 nodes.\n", "{said:?}");
    lone.wait_for_members(5);
    // Files and programs, at the start and by the command, but not for clients of the RPC.
    let file = dir.path().join("seeds");
    fs::write(&file, "# all\n127.0.1.1 # the first\n").unwrap();
    let file = format!("file:{}", file.display());
    let by_file = start(Kind::Ours, "by-file", "127.0.1.6", &["-join", &file]);
    by_file.wait_for_members(6);
    let by_program = start(Kind::Ours, "by-program", "127.0.1.7", &[]);
    let said = serf(Kind::Ours, &by_program.rpc, &["join", "exec:echo 127.0.1.1; echo 127.0.1.2"]);
    assert_eq!(said.out, "Successfully joined cluster by contacting 2 nodes.\n", "{said:?}");
    let trace = dir.path().join("trace");
    let command = format!("exec:touch {}", trace.display());
    for seed in [command.as_str(), &file] {
        let refused = by_program
            .try_ask(|client| async move { client.join([seed], OldEvents::Ignore).await });
        let error = refused.expect_err("it is refused").to_string();
        assert!(error.contains("only the configuration and commands"), "{error}");
    }
    assert!(!trace.exists(), "a client of the RPC ran a program");
    // What names nothing is an error with its reason.
    let said = serf(Kind::Ours, &seed.rpc, &["join", "dnssrv+_none._udp.test"]);
    assert!(said.code == Some(1) && said.out.contains("no such service"), "{said:?}");
}

/// What the name server says of a name.
#[derive(Clone, Copy)]
enum Answer {
    A(&'static str),
    /// Priority and target; the port is 7946.
    Srv(u16, &'static str),
}

/// A name server at 127.0.0.53.
struct Zone(Arc<Mutex<HashMap<String, Vec<Answer>>>>);

impl Zone {
    fn serve() -> Self {
        let zone = Self(Arc::default());
        let known = Arc::clone(&zone.0);
        let socket = UdpSocket::bind("127.0.0.53:53").expect("the port is free");
        thread::spawn(move || {
            let mut buf = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut buf) {
                let answer = answer(&buf[..len], &known.lock().unwrap());
                socket.send_to(&answer, from).expect("an answer leaves");
            }
        });
        zone
    }

    fn set(&self, name: &str, answers: &[Answer]) {
        self.0.lock().unwrap().insert(name.to_owned(), answers.to_vec());
    }
}

fn answer(question: &[u8], known: &HashMap<String, Vec<Answer>>) -> Vec<u8> {
    let question = Packet::parse(question).expect("a question");
    let asked = question.questions.first().expect("one question").clone();
    let name = format!("{}.", asked.qname.to_string().trim_end_matches('.').to_lowercase());
    let mut reply = Packet::new_reply(question.id());
    let answers = known.get(&name).cloned();
    if answers.is_none() {
        *reply.rcode_mut() = RCODE::NameError;
    }
    for answer in answers.into_iter().flatten() {
        let data = match (answer, asked.qtype) {
            (Answer::A(ip), QTYPE::TYPE(TYPE::A)) => {
                RData::A(A { address: u32::from(ip.parse::<Ipv4Addr>().expect("an address")) })
            }
            (Answer::Srv(priority, target), QTYPE::TYPE(TYPE::SRV)) => {
                let target = Name::new(target).expect("a name");
                RData::SRV(SRV { priority, weight: 0, port: 7946, target })
            }
            _ => continue,
        };
        reply.answers.push(ResourceRecord::new(asked.qname.clone(), CLASS::IN, 0, data));
    }
    reply.questions.push(asked);
    reply.build_bytes_vec().expect("an answer")
}
