use super::*;
use crate::driver::faulty_disk::{Fault, FaultyDisk, LOSSES, Step};

const OLD: &[u8] = b"[\"old\"]";
const NEW: &[u8] = b"[\"new\", \"old\"]";

fn keys() -> &'static Path {
    Path::new("keys")
}

/// Keyring and tags file: complete with the old or the new contents, whenever the power fails.
#[test]
fn a_crash_at_any_step_leaves_the_old_or_the_new_file() {
    for before in [Some(OLD), None] {
        let run = |fault| {
            let disk = FaultyDisk::with_fault(fault);
            if let Some(before) = before {
                disk.put(keys(), before);
            }
            let result = replace(&disk, keys(), ".tmp", NEW);
            (disk, result)
        };
        let (calm, result) = run(None);
        result.unwrap();
        let mut seen = [0, 0];
        for (at, quarters) in (0..calm.steps()).flat_map(|at| (0..=4).map(move |q| (at, q))) {
            let (disk, result) = run(Some(Fault { at, quarters, fatal: true }));
            for loss in LOSSES {
                let left = disk.read_after(loss, keys());
                let is_new = left.as_deref() == Some(NEW);
                assert!(is_new || left.as_deref() == before, "step {at}, {loss:?}: {left:?}");
                seen[usize::from(is_new)] += 1;
            }
            assert!(result.is_err(), "step {at}");
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        for loss in LOSSES {
            assert_eq!(calm.read_after(loss, keys()).as_deref(), Some(NEW), "it is safe");
        }
    }
}

/// All refusals that do not affect Go's overwriting: a directory of another owner (EACCES, EPERM,
/// sticky bit), a file that is a mount point (EBUSY), a directory that is read-only (EROFS) or on
/// another device (EXDEV), an owner that we may not set.
#[test]
fn a_file_that_cannot_be_replaced_is_overwritten() {
    use io::ErrorKind::{
        AlreadyExists, CrossesDevices, InvalidFilename, PermissionDenied, ReadOnlyFilesystem,
        ResourceBusy,
    };
    for step in [Step::CreateNew, Step::CopyAccess, Step::Rename] {
        for kind in [
            AlreadyExists,
            CrossesDevices,
            InvalidFilename,
            PermissionDenied,
            ReadOnlyFilesystem,
            ResourceBusy,
        ] {
            let disk = FaultyDisk::default();
            disk.put(keys(), OLD);
            disk.refuse(step, kind);
            replace(&disk, keys(), ".tmp", NEW).unwrap();
            for loss in LOSSES {
                assert_eq!(disk.read_after(loss, keys()).as_deref(), Some(NEW), "{step:?} {kind}");
            }
            assert_eq!(disk.read(Path::new("keys.tmp")), None, "{step:?} {kind}");
        }
    }
}

/// As by Go, which always overwrites: the old file has a block of its own.
#[test]
fn a_full_disk_has_room_for_the_new_contents_in_the_old_file() {
    let disk = FaultyDisk::default();
    disk.put(keys(), OLD);
    disk.fill();
    replace(&disk, keys(), ".tmp", NEW).unwrap();
    assert_eq!(disk.read(keys()).as_deref(), Some(NEW));
    assert_eq!(disk.read(Path::new("keys.tmp")), None);
    let other = Path::new("other");
    let error = replace(&disk, other, ".tmp", NEW).unwrap_err();
    assert_eq!((error.step, error.source.kind()), ("write", io::ErrorKind::StorageFull));
    assert_eq!(disk.read(other), None);
}

#[test]
fn a_file_that_must_not_be_written_is_left_alone_and_the_error_is_go_s() {
    for (code, text) in [
        (13, "open keys: permission denied"),
        (1, "open keys: operation not permitted"),
        (30, "open keys: read-only file system"),
        (21, "open keys: is a directory"),
    ] {
        let disk = FaultyDisk::default();
        disk.put(keys(), OLD);
        disk.refuse_with(Step::Open, code);
        let error = replace(&disk, keys(), ".tmp", NEW).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(disk.read(keys()).as_deref(), Some(OLD));
    }
}

#[test]
fn a_file_that_cannot_be_created_is_reported_by_its_own_name() {
    let disk = FaultyDisk::default();
    disk.refuse_with(Step::CreateNew, 13);
    disk.refuse_with(Step::Create, 13);
    let error = replace(&disk, keys(), ".tmp", NEW).unwrap_err();
    assert_eq!(error.to_string(), "open keys: permission denied");
    assert_eq!(disk.read(keys()), None);
}

/// On a full or broken disk the old contents remain, even if the file is overwritten.
#[test]
fn a_failed_step_leaves_the_old_contents() {
    for links in [Some(1), Some(2)] {
        let run = |fault| {
            let disk = FaultyDisk::with_fault(fault);
            disk.put(keys(), OLD);
            disk.set_links(links);
            let result = replace(&disk, keys(), ".tmp", NEW);
            (disk, result)
        };
        let (calm, result) = run(None);
        result.unwrap();
        for (at, quarters) in (0..calm.steps()).flat_map(|at| (0..=4).map(move |q| (at, q))) {
            let (disk, result) = run(Some(Fault { at, quarters, fatal: false }));
            let left = disk.read(keys()).unwrap();
            match result {
                Ok(()) => assert_eq!(left, NEW, "{links:?} step {at}"),
                // Everything is done except the sync of the directory.
                Err(error) if error.step == "sync" => assert_eq!(left, NEW, "step {at}"),
                Err(error) => assert_eq!(left, OLD, "{links:?} step {at}: {error}"),
            }
        }
    }
}

#[test]
fn a_device_is_written_to_and_nothing_else() {
    let disk = FaultyDisk::default();
    disk.put(keys(), b"");
    disk.set_links(None);
    replace(&disk, keys(), ".tmp", NEW).unwrap();
    assert_eq!(disk.steps(), 2, "open and write");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_new_file_is_private_and_an_old_one_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        replace_file(&path, OLD).unwrap();
        assert_eq!(mode(), 0o600);
        for kept in [0o640, 0o644, 0o600] {
            fs::set_permissions(&path, fs::Permissions::from_mode(kept)).unwrap();
            replace_file(&path, NEW).unwrap();
            assert_eq!(mode(), kept);
        }
        assert_eq!(fs::read(&path).unwrap(), NEW);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let [target, link, hard] = ["target", "link", "hard"].map(|name| dir.path().join(name));
        // The first write creates the target of a dangling link.
        symlink("target", &link).unwrap();
        for contents in [OLD, NEW] {
            replace_file(&link, contents).unwrap();
            assert_eq!(fs::read(&target).unwrap(), contents);
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
        fs::hard_link(&target, &hard).unwrap();
        replace_file(&link, OLD).unwrap();
        assert_eq!(fs::read(&hard).unwrap(), OLD);
        assert_eq!(fs::metadata(&hard).unwrap().nlink(), 2);
    }

    #[test]
    fn a_device_stays_a_device() {
        replace_file(Path::new("/dev/null"), NEW).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}

/// The name of the temporary file is already in use.
#[test]
fn a_temporary_file_that_cannot_be_made_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    fs::write(&path, "old").unwrap();
    fs::create_dir(dir.path().join("keys.tmp")).unwrap();
    replace_file(&path, NEW).unwrap();
    assert_eq!(fs::read(&path).unwrap(), NEW);
    // The longest possible file name.
    let path = dir.path().join("k".repeat(255));
    replace_file(&path, OLD).unwrap();
    replace_file(&path, NEW).unwrap();
    assert_eq!(fs::read(&path).unwrap(), NEW);
}
