//! Files of a node on disks that hang or fail.

use std::{fs, process::Command};

use super::*;
use crate::{base::go_base64, driver::Error};

fn keyed(name: &str) -> Builder {
    let mut builder = builder(name);
    builder.config.keyring = Keyring::build(&[], &[1; 16]).unwrap();
    // 3.2 s for a query, which suffices on a busy machine.
    builder.config.timing.query_timeout_mult = 160;
    builder
}

fn failures(result: Result<crate::serf::KeyResponse, Error>) -> Vec<(String, String)> {
    let Err(Error::Keys(error)) = result else { panic!("{result:?}") };
    error.response.messages.into_iter().collect()
}

/// A pipe without a reader: opening it for writing hangs, like a file on a dead network disk.
#[cfg(unix)]
#[tokio::test]
async fn a_disk_that_hangs_delays_nobody_and_fails_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("keys");
    let mut builder = keyed("a");
    builder.keyring_file = Some(pipe.clone());
    let a = builder.start().await.unwrap();
    // Created only now: the file is read at the start.
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let b = keyed("b").start().await.unwrap();
    join(&b, &a).await;
    has_status(&b, "a", MemberStatus::Alive).await;
    let failed = failures(within(b.key_manager().install(&go_base64::encode(&[2; 16]))).await);
    let text = "Failed to write keyring file: it takes too long".to_owned();
    assert_eq!(failed, [("a".to_owned(), text)]);
    within(a.user_event("alive", "")).await.unwrap();
    // Reads the pipe at last, so that the node need not wait at its end.
    let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
    let written = tokio::task::spawn_blocking(|| reader.join().unwrap());
    within(async { written.await.unwrap() }).await;
    within(a.shutdown()).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_fails_the_request_of_another_node() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing").join("keys");
    let mut builder = keyed("a");
    builder.keyring_file = Some(missing.clone());
    let a = builder.start().await.unwrap();
    let b = keyed("b").start().await.unwrap();
    join(&b, &a).await;
    has_status(&b, "a", MemberStatus::Alive).await;
    let key = go_base64::encode(&[2; 16]);
    let failed = failures(within(b.key_manager().install(&key)).await);
    let text = format!(
        "Failed to write keyring file: open {}: no such file or directory",
        missing.display()
    );
    assert_eq!(failed, [("a".to_owned(), text)]);
    fs::create_dir(missing.parent().unwrap()).unwrap();
    within(b.key_manager().install(&key)).await.unwrap();
    assert!(fs::read_to_string(&missing).unwrap().contains(&key));
}
