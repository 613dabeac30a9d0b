//! A simulated disk for tests: loses power at any step and then loses data that was not synced.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::file::Disk;

/// The simulated disk. Clones share it.
#[derive(Clone, Default)]
pub(super) struct FaultyDisk(Rc<RefCell<Platters>>);

/// Kinds of steps that can be made to fail permanently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Open,
    CreateNew,
    Create,
    CopyAccess,
    Rename,
    /// Any other step.
    Other,
}

struct Platters {
    /// Files by number; a file that is open can lose its name.
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    /// Names at the last sync of the directory.
    synced_names: BTreeMap<PathBuf, usize>,
    /// Number of steps done so far.
    steps: usize,
    fault: Option<Fault>,
    refused: BTreeMap<Step, Refusal>,
    /// Number of names of every file.
    links: Option<u64>,
    /// Files from this number on get no space: those that were created on a full disk.
    full_from: usize,
    /// Whether the power has failed.
    dead: bool,
}

#[derive(Clone, Copy)]
enum Refusal {
    Kind(io::ErrorKind),
    Code(i32),
}

impl Default for Platters {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            steps: 0,
            fault: None,
            refused: BTreeMap::new(),
            links: Some(1),
            full_from: usize::MAX,
            dead: false,
        }
    }
}

#[derive(Default)]
struct Contents {
    written: Vec<u8>,
    /// The contents at the last sync.
    synced: Vec<u8>,
}

/// A fault to inject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// Number of the step that fails, from 0.
    pub(super) at: usize,
    /// If it is a write, this many quarters of it succeed.
    pub(super) quarters: usize,
    /// Whether the power fails; otherwise only this step fails.
    pub(super) fatal: bool,
}

/// What a power failure loses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// Unsynced contents.
    pub(super) bytes: bool,
    /// Name changes since the last sync of the directory.
    pub(super) names: bool,
}

/// All combinations of losses in a power failure.
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

    /// Creates a file that is fully synced.
    pub(super) fn put(&self, path: &Path, contents: &[u8]) {
        let mut platters = self.0.borrow_mut();
        let number = platters.files.len();
        platters.files.push(Contents { written: contents.to_vec(), synced: contents.to_vec() });
        platters.names.insert(path.to_owned(), number);
        platters.synced_names.insert(path.to_owned(), number);
    }

    /// Number of steps done so far.
    pub(super) fn steps(&self) -> usize {
        self.0.borrow().steps
    }

    /// Contents of a file after a power failure; `None` if the file does not exist.
    pub(super) fn read_after(&self, loss: Loss, path: &Path) -> Option<Vec<u8>> {
        let platters = self.0.borrow();
        let names = if loss.names { &platters.synced_names } else { &platters.names };
        let contents = &platters.files[*names.get(path)?];
        Some(if loss.bytes { contents.synced.clone() } else { contents.written.clone() })
    }

    /// Contents of a file as seen by programs.
    pub(super) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.read_after(LOSSES[0], path)
    }

    /// Fills the disk: new files can be created, but not written.
    pub(super) fn fill(&self) {
        let mut platters = self.0.borrow_mut();
        platters.full_from = platters.files.len();
    }

    /// Makes every further step of this kind fail.
    pub(super) fn refuse(&self, step: Step, kind: io::ErrorKind) {
        self.0.borrow_mut().refused.insert(step, Refusal::Kind(kind));
    }

    /// The same, with the system's error number.
    pub(super) fn refuse_with(&self, step: Step, code: i32) {
        self.0.borrow_mut().refused.insert(step, Refusal::Code(code));
    }

    /// Sets the number of names of each file; `None`: they are devices.
    pub(super) fn set_links(&self, links: Option<u64>) {
        self.0.borrow_mut().links = links;
    }

    /// Performs a step, unless a fault makes it fail.
    fn step<T>(
        &self,
        kind: Step,
        step: impl FnOnce(&mut Platters) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut platters = self.0.borrow_mut();
        platters.begin()?;
        match platters.refused.get(&kind) {
            Some(Refusal::Kind(kind)) => Err((*kind).into()),
            Some(Refusal::Code(code)) => Err(io::Error::from_raw_os_error(*code)),
            None => step(&mut platters),
        }
    }

    fn file(&self, number: usize, at: Option<usize>) -> FaultyFile {
        FaultyFile { disk: self.clone(), number, at }
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
    /// Offset of the next write; `None`: the end.
    at: Option<usize>,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut platters = self.disk.0.borrow_mut();
        let started = platters.begin();
        if self.number >= platters.full_from {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let quarters = match (&started, platters.fault) {
            (Ok(()), _) => 4,
            // This is the failing step, not a later one.
            (Err(_), Some(fault)) if platters.steps == fault.at + 1 => fault.quarters,
            (Err(_), _) => 0,
        };
        let done = &bytes[..bytes.len() * quarters / 4];
        let written = &mut platters.files[self.number].written;
        let at = self.at.unwrap_or(written.len());
        let end = at + done.len();
        if written.len() < end {
            written.resize(end, 0);
        }
        written[at..end].copy_from_slice(done);
        self.at = self.at.map(|_| end);
        started.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        Some(path.to_owned())
    }

    fn open(&self, path: &Path) -> io::Result<FaultyFile> {
        self.step(Step::Open, |platters| {
            let number = platters.names.get(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(self.file(*number, Some(0)))
        })
    }

    fn create_new(&self, path: &Path) -> io::Result<FaultyFile> {
        self.step(Step::CreateNew, |platters| {
            if platters.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(self.file(platters.open(path), Some(0)))
        })
    }

    fn create(&self, path: &Path) -> io::Result<FaultyFile> {
        self.step(Step::Create, |platters| Ok(self.file(platters.open(path), Some(0))))
    }

    fn append(&self, path: &Path) -> io::Result<FaultyFile> {
        self.step(Step::Other, |platters| {
            let number = match platters.names.get(path) {
                Some(number) => *number,
                None => platters.open(path),
            };
            Ok(self.file(number, None))
        })
    }

    fn links(&self, _: &FaultyFile) -> Option<u64> {
        self.0.borrow().links
    }

    fn copy_access(&self, _: &FaultyFile, _: &FaultyFile) -> io::Result<()> {
        self.step(Step::CopyAccess, |_| Ok(()))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = Self::read(self, path);
        self.step(Step::Other, |_| read.ok_or(io::ErrorKind::NotFound.into()))
    }

    fn rewind(&self, file: &mut FaultyFile) -> io::Result<()> {
        file.at = Some(0);
        Ok(())
    }

    fn set_len(&self, file: &FaultyFile, len: usize) -> io::Result<()> {
        self.step(Step::Other, |platters| {
            platters.files[file.number].written.resize(len, 0);
            Ok(())
        })
    }

    fn sync(&self, file: &FaultyFile) -> io::Result<()> {
        self.step(Step::Other, |platters| {
            let contents = &mut platters.files[file.number];
            contents.synced.clone_from(&contents.written);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Other, |platters| match platters.names.remove(path) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename, |platters| {
            let number = platters.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            platters.names.insert(to.to_owned(), number);
            Ok(())
        })
    }

    fn sync_directory_of(&self, _: &Path) -> io::Result<()> {
        self.step(Step::Other, |platters| {
            platters.synced_names = platters.names.clone();
            Ok(())
        })
    }
}
