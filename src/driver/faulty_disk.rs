//! A disk for tests that loses power at any step, and forgets what was not synced.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::file::Disk;

/// The disk. A clone is another handle of the same one.
#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Rc<RefCell<Platters>>);

#[derive(Default)]
struct Platters {
    /// Files by number; a name may go away while the file is open.
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    /// Names as they were when the directory was last synced.
    synced_names: BTreeMap<PathBuf, usize>,
    /// Steps done so far.
    steps: usize,
    fault: Option<Fault>,
    /// Nothing works any more.
    dead: bool,
}

#[derive(Default)]
struct Contents {
    written: Vec<u8>,
    /// So many bytes of it survive.
    synced: usize,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// In which step, from 0.
    pub(super) at: usize,
    /// Of a write, so many quarters are done before.
    pub(super) quarters: usize,
    /// Whether the machine stops; otherwise only this step fails.
    pub(super) fatal: bool,
}

/// What a power cut takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Bytes that were not synced.
    pub(super) bytes: bool,
    /// Names that were changed since their directory was synced.
    pub(super) names: bool,
}

/// Everything that can be lost in a power cut.
pub(super) const LOSSES: [Loss; 4] = [
    Loss { bytes: false, names: false },
    Loss { bytes: true, names: false },
    Loss { bytes: false, names: true },
    Loss { bytes: true, names: true },
];

impl FaultyDisk {
    pub(super) fn with_fault(fault: Option<Fault>) -> Self {
        let disk = Self::default();
        disk.0.borrow_mut().fault = fault;
        disk
    }

    /// A file that was there before, safely.
    pub(super) fn put(&self, path: &Path, contents: &[u8]) {
        let mut platters = self.0.borrow_mut();
        let number = platters.files.len();
        platters.files.push(Contents { written: contents.to_vec(), synced: contents.len() });
        platters.names.insert(path.to_owned(), number);
        platters.synced_names.insert(path.to_owned(), number);
    }

    /// Steps done so far.
    pub(super) fn steps(&self) -> usize {
        self.0.borrow().steps
    }

    /// A file after a power cut; `None` if it is not there.
    pub(super) fn read_after(&self, loss: Loss, path: &Path) -> Option<Vec<u8>> {
        let platters = self.0.borrow();
        let names = if loss.names { &platters.synced_names } else { &platters.names };
        let contents = &platters.files[*names.get(path)?];
        let kept = if loss.bytes { contents.synced } else { contents.written.len() };
        Some(contents.written[..kept].to_vec())
    }

    /// A file as programs see it.
    pub(super) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.read_after(LOSSES[0], path)
    }

    /// Does a step, unless it is the one that fails.
    fn step<T>(&self, step: impl FnOnce(&mut Platters) -> io::Result<T>) -> io::Result<T> {
        let mut platters = self.0.borrow_mut();
        platters.begin()?;
        step(&mut platters)
    }
}

impl Platters {
    fn begin(&mut self) -> io::Result<()> {
        let at = self.steps;
        self.steps += 1;
        match self.fault {
            _ if self.dead => Err(io::Error::other("the machine is off")),
            Some(fault) if fault.at == at => {
                self.dead = fault.fatal;
                Err(io::Error::other("a fault"))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, path: &Path) -> usize {
        let number = self.files.len();
        self.files.push(Contents::default());
        self.names.insert(path.to_owned(), number);
        number
    }
}

/// An open file.
pub(super) struct FaultyFile {
    disk: FaultyDisk,
    number: usize,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut platters = self.disk.0.borrow_mut();
        let begun = platters.begin();
        let quarters = match (&begun, platters.fault) {
            (Ok(()), _) => 4,
            // The step that fails, not one after it.
            (Err(_), Some(fault)) if platters.steps == fault.at + 1 => fault.quarters,
            (Err(_), _) => 0,
        };
        let done = &bytes[..bytes.len() * quarters / 4];
        platters.files[self.number].written.extend_from_slice(done);
        begun.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn create_new(&self, path: &Path) -> io::Result<FaultyFile> {
        self.step(|platters| {
            if platters.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(FaultyFile { disk: self.clone(), number: platters.open(path) })
        })
    }

    fn append(&self, path: &Path) -> io::Result<FaultyFile> {
        self.step(|platters| {
            let number = match platters.names.get(path) {
                Some(number) => *number,
                None => platters.open(path),
            };
            Ok(FaultyFile { disk: self.clone(), number })
        })
    }

    fn copy_mode(&self, _: &Path, _: &FaultyFile) -> io::Result<()> {
        self.step(|_| Ok(()))
    }

    fn sync(&self, file: &FaultyFile) -> io::Result<()> {
        self.step(|platters| {
            let contents = &mut platters.files[file.number];
            contents.synced = contents.written.len();
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|platters| match platters.names.remove(path) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|platters| {
            let number = platters.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            platters.names.insert(to.to_owned(), number);
            Ok(())
        })
    }

    fn sync_directory_of(&self, _: &Path) -> io::Result<()> {
        self.step(|platters| {
            platters.synced_names = platters.names.clone();
            Ok(())
        })
    }
}
