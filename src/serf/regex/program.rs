//! Thompson's construction over characters; all paths are followed at once.
//!
//! Classes remain shared lists of ranges, so that a class of a hundred thousand characters costs as
//! little as one of two. A match costs at most the length of the program times that of the text,
//! and is charged.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::{Allowance, Unusable};

/// A compiled expression: a list of steps, starting with the first.
#[derive(Debug)]
pub(super) struct Program {
    steps: Vec<Step>,
    classes: Vec<Ranges>,
}

type Ranges = Box<[(char, char)]>;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Matches this character.
    Char(char),
    /// Matches a character of the class with this index.
    Class(u32),
    /// Matches an empty position that satisfies the assertion.
    Look(Look),
    /// Continues at the next step and at this one.
    Split(u32),
    Jump(u32),
    Match,
}

impl Program {
    pub(super) fn build(hir: &Hir, work: &mut Allowance) -> Result<Self, Unusable> {
        let mut program = Self { steps: Vec::new(), classes: Vec::new() };
        program.add(hir, work)?;
        program.push(Step::Match)?;
        program.steps.shrink_to_fit();
        Ok(program)
    }

    pub(super) fn bytes(&self) -> usize {
        let ranges: usize = self.classes.iter().map(|ranges| ranges.len()).sum();
        self.steps.len() * size_of::<Step>() + ranges * size_of::<(char, char)>()
    }

    fn here(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// Appends a step and returns its index.
    fn push(&mut self, step: Step) -> Result<u32, Unusable> {
        let at = self.here();
        self.steps.push(step);
        if self.steps.len() <= STEPS_MAX { Ok(at) } else { Err(Unusable::Invalid) }
    }

    /// Makes the branch at index `at` continue at the next step to be appended.
    fn land(&mut self, at: u32) {
        let here = self.here();
        match self.steps.get_mut(at as usize) {
            Some(Step::Split(to) | Step::Jump(to)) => *to = here,
            Some(Step::Char(_) | Step::Class(_) | Step::Look(_) | Step::Match) | None => {}
        }
    }

    fn add(&mut self, hir: &Hir, work: &mut Allowance) -> Result<(), Unusable> {
        work.charge(STEP_PRICE)?;
        match hir.kind() {
            HirKind::Empty => {}
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).map_err(|_| Unusable::Invalid)?;
                for c in text.chars() {
                    work.charge(STEP_PRICE)?;
                    self.push(Step::Char(c))?;
                }
            }
            HirKind::Class(class) => {
                let class = self.class(ranges(class)?, work)?;
                self.push(Step::Class(class))?;
            }
            HirKind::Look(look) => {
                self.push(Step::Look(*look))?;
            }
            HirKind::Capture(capture) => self.add(&capture.sub, work)?,
            HirKind::Concat(parts) => {
                for part in parts {
                    self.add(part, work)?;
                }
            }
            HirKind::Alternation(branches) => {
                let mut ends = Vec::new();
                for branch in branches {
                    let split = self.push(Step::Split(0))?;
                    self.add(branch, work)?;
                    ends.push(self.push(Step::Jump(0))?);
                    self.land(split);
                }
                // An alternation without branches matches nothing.
                let never = self.class(Ranges::default(), work)?;
                self.push(Step::Class(never))?;
                ends.into_iter().for_each(|end| self.land(end));
            }
            HirKind::Repetition(repetition) => {
                for _ in 0..repetition.min {
                    self.add(&repetition.sub, work)?;
                }
                let Some(max) = repetition.max else {
                    let split = self.push(Step::Split(0))?;
                    self.add(&repetition.sub, work)?;
                    self.push(Step::Jump(split))?;
                    self.land(split);
                    return Ok(());
                };
                let mut exits = Vec::new();
                for _ in repetition.min..max {
                    exits.push(self.push(Step::Split(0))?);
                    self.add(&repetition.sub, work)?;
                }
                exits.into_iter().for_each(|exit| self.land(exit));
            }
        }
        Ok(())
    }

    /// The index of a class; equal classes share one.
    fn class(&mut self, ranges: Ranges, work: &mut Allowance) -> Result<u32, Unusable> {
        work.charge((ranges.len() + self.classes.len()) as u64)?;
        let known = self.classes.iter().position(|known| *known == ranges);
        let at = known.unwrap_or(self.classes.len());
        if known.is_none() {
            self.classes.push(ranges);
            let ranges: usize = self.classes.iter().map(|ranges| ranges.len()).sum();
            if self.classes.len() > CLASSES_MAX || ranges > RANGES_MAX {
                return Err(Unusable::Invalid);
            }
        }
        u32::try_from(at).map_err(|_| Unusable::Invalid)
    }

    /// Whether the program matches anywhere in `text`.
    pub(super) fn is_match(&self, text: &str, work: &mut Allowance) -> Result<bool, Unusable> {
        work.charge(self.steps.len() as u64 / 8)?;
        let mut paths = Paths::new(self.steps.len());
        let mut chars = text.chars();
        let mut before = None;
        loop {
            let after = chars.clone().next();
            let around = Around { before, after };
            // A match may start at this position.
            paths.todo.push(0);
            if self.spread(&mut paths, around, work)? {
                return Ok(true);
            }
            let Some(c) = chars.next() else { return Ok(false) };
            std::mem::swap(&mut paths.takers, &mut paths.took);
            paths.takers.clear();
            while let Some(at) = paths.took.pop() {
                if self.takes(at, c) {
                    paths.todo.push(at + 1);
                }
            }
            paths.turn += 1;
            before = Some(c);
        }
    }

    /// Follows the paths to the steps that match a character; returns whether one reaches the end.
    fn spread(
        &self,
        paths: &mut Paths,
        around: Around,
        work: &mut Allowance,
    ) -> Result<bool, Unusable> {
        while let Some(at) = paths.todo.pop() {
            let Some(seen) = paths.seen.get_mut(at as usize) else { continue };
            if std::mem::replace(seen, paths.turn) == paths.turn {
                continue;
            }
            work.charge(STEP_PRICE)?;
            match self.steps.get(at as usize) {
                Some(Step::Char(_) | Step::Class(_)) => paths.takers.push(at),
                Some(Step::Look(look)) if around.holds(*look) => paths.todo.push(at + 1),
                Some(Step::Split(to)) => paths.todo.extend([at + 1, *to]),
                Some(Step::Jump(to)) => paths.todo.push(*to),
                Some(Step::Match) => return Ok(true),
                Some(Step::Look(_)) | None => {}
            }
        }
        Ok(false)
    }

    fn takes(&self, at: u32, c: char) -> bool {
        match self.steps.get(at as usize) {
            Some(Step::Char(own)) => *own == c,
            Some(Step::Class(class)) => self.classes.get(*class as usize).is_some_and(|ranges| {
                let after = ranges.partition_point(|(low, _)| *low <= c);
                after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| c <= range.1)
            }),
            Some(Step::Look(_) | Step::Split(_) | Step::Jump(_) | Step::Match) | None => false,
        }
    }
}

/// The states of all paths through a program.
struct Paths {
    todo: Vec<u32>,
    /// Steps that can match the next character; `took` are those that matched the last one.
    takers: Vec<u32>,
    took: Vec<u32>,
    /// For each step, the last turn in which a path reached it.
    seen: Vec<u32>,
    turn: u32,
}

impl Paths {
    fn new(steps: usize) -> Self {
        let (todo, takers, took) = (Vec::new(), Vec::new(), Vec::new());
        Self { todo, takers, took, seen: vec![0; steps], turn: 1 }
    }
}

/// The characters before and after a position in the text.
#[derive(Clone, Copy)]
struct Around {
    before: Option<char>,
    after: Option<char>,
}

impl Around {
    fn holds(self, look: Look) -> bool {
        let Self { before, after } = self;
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        match look {
            Look::Start => before.is_none(),
            Look::End => after.is_none(),
            Look::StartLF => before.is_none_or(|c| c == '\n'),
            Look::EndLF => after.is_none_or(|c| c == '\n'),
            Look::WordAscii => is_word(before) != is_word(after),
            Look::WordAsciiNegate => is_word(before) == is_word(after),
            // Go has no other assertions, so the translation contains none.
            _ => false,
        }
    }
}

/// The ranges of a class; a class of bytes occurs in a translation only if it is ASCII.
fn ranges(class: &Class) -> Result<Ranges, Unusable> {
    match class {
        Class::Unicode(class) => Ok(class.iter().map(|r| (r.start(), r.end())).collect()),
        Class::Bytes(class) if class.is_ascii() => {
            Ok(class.iter().map(|r| (char::from(r.start()), char::from(r.end()))).collect())
        }
        Class::Bytes(_) => Err(Unusable::Invalid),
    }
}

/// Cost of a step when it is compiled and whenever a path reaches it.
const STEP_PRICE: u64 = 1;
/// Longest program, in steps of 8 bytes.
const STEPS_MAX: usize = 8_192;
/// Most ranges of all classes, of 8 bytes each. `\pL` has 660.
const RANGES_MAX: usize = 8_192;
/// Most distinct classes.
const CLASSES_MAX: usize = 256;
