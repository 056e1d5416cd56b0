//! Breadth-first exploration of everything that can happen, with the shortest way to what must not.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::configurations::Configuration;
use super::properties::{Property, Violation};
use super::state::State;
use super::world::{Step, Successor, World};

/// From every so many states everybody is let run without faults.
const RUN_OUT_EVERY: u32 = 31;
/// Rounds after which something that should have come to rest has not.
const ROUNDS_MAX: usize = 64;
const STEPS_MAX: usize = 400;

/// What an exploration found.
pub(crate) struct Explored {
    pub(crate) states: u32,
    pub(crate) transitions: u64,
    pub(crate) depth: usize,
    pub(crate) run_outs: u32,
    pub(crate) broken: Option<Broken>,
}

/// A property that does not hold, and the shortest schedule that shows it: which of the possible
/// steps was taken, time after time.
pub(crate) struct Broken {
    pub(crate) violation: Violation,
    pub(crate) schedule: Vec<u16>,
}

/// How a state was reached first.
#[derive(Clone, Copy)]
struct Origin {
    from: u32,
    step: u16,
}

pub(crate) struct Explorer {
    world: World,
    seen: HashSet<u64, BuildHasherDefault<AsItIs>>,
    origins: Vec<Origin>,
    transitions: u64,
    run_outs: u32,
}

impl Explorer {
    pub(crate) fn new(configuration: Configuration) -> Self {
        Self {
            world: World::new(configuration),
            seen: HashSet::default(),
            origins: Vec::new(),
            transitions: 0,
            run_outs: 0,
        }
    }

    pub(crate) fn explore(mut self) -> Explored {
        let initial = self.world.initial();
        self.note(&initial, Origin { from: 0, step: 0 });
        let mut level = vec![(0_u32, initial)];
        let mut depth = 0;
        let mut broken = self.judge(0, &initial).err();
        while broken.is_none() && !level.is_empty() {
            match self.next_level(&level) {
                Ok(next) => level = next,
                Err(found) => broken = Some(found),
            }
            depth += usize::from(!level.is_empty());
        }
        Explored {
            states: self.origins.len() as u32,
            transitions: self.transitions,
            depth,
            run_outs: self.run_outs,
            broken,
        }
    }

    fn next_level(&mut self, level: &[(u32, State)]) -> Result<Vec<(u32, State)>, Broken> {
        let mut next = Vec::new();
        let mut successors = Vec::new();
        for (number, state) in level {
            successors.clear();
            self.world.successors(state, &mut successors);
            for (step, successor) in (0..).zip(&successors) {
                self.transitions += 1;
                let origin = Origin { from: *number, step };
                let after = self.checked(state, successor);
                let after = after.map_err(|violation| self.broken(origin, violation))?;
                if let Some(number) = self.note(&after, origin) {
                    self.judge(number, &after)?;
                    next.push((number, after));
                }
            }
        }
        Ok(next)
    }

    fn checked(&self, before: &State, successor: &Successor) -> Result<State, Violation> {
        let after = successor.after.clone()?;
        self.world.check_step(before, &after)?;
        Ok(after)
    }

    /// The number of a state that was not seen before.
    ///
    /// States are told apart by 64 bits; that two of five million are confused has a chance of
    /// less than one in a million.
    fn note(&mut self, state: &State, origin: Origin) -> Option<u32> {
        let mut hasher = Mixer::default();
        state.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return None;
        }
        self.origins.push(origin);
        Some(u32::try_from(self.origins.len() - 1).expect("states fit into memory"))
    }

    fn judge(&mut self, number: u32, state: &State) -> Result<(), Broken> {
        let mut judged = self.world.check_state(state);
        let runs_out = self.world.configuration.run_outs && number.is_multiple_of(RUN_OUT_EVERY);
        if judged.is_ok() && runs_out {
            self.run_outs += 1;
            judged = self.world.run_out(state, number as usize);
        }
        judged.map_err(|violation| Broken { violation, schedule: self.way_to(number) })
    }

    fn broken(&self, origin: Origin, violation: Violation) -> Broken {
        let mut schedule = self.way_to(origin.from);
        schedule.push(origin.step);
        Broken { violation, schedule }
    }

    fn way_to(&self, number: u32) -> Vec<u16> {
        let mut way = Vec::new();
        let mut number = number;
        while number != 0 {
            let origin = self.origins[number as usize];
            way.push(origin.step);
            number = origin.from;
        }
        way.reverse();
        way
    }
}

/// Letting everybody run without faults.
impl World {
    /// Everything must come to rest, and then everything must be settled.
    pub(crate) fn run_out(&mut self, state: &State, seed: usize) -> Result<(), Violation> {
        let faults = self.configuration.faults.replace(0);
        let run = self.run_to_rest(*state, seed);
        self.configuration.faults = faults;
        self.check_rest(&run?)
    }

    fn run_to_rest(&mut self, mut state: State, seed: usize) -> Result<State, Violation> {
        let processes = self.configuration.migrators.len();
        let writers = self.configuration.writers.len();
        let actors = processes + writers + 1;
        for round in 0..ROUNDS_MAX {
            let before = state;
            if state.late.is_some() {
                self.step(&mut state, |world, state, out| world.land(state, out))?;
            }
            for turn in 0..actors {
                match (turn + seed + round) % actors {
                    actor if actor < processes => self.run_migrator(&mut state, actor)?,
                    actor if actor < processes + writers => {
                        self.run_writer(&mut state, actor - processes)?;
                    }
                    _ => {
                        while self.step(&mut state, |world, state, out| {
                            if world.configuration.reader {
                                world.reader_steps(state, out)
                            }
                        })? {}
                    }
                }
            }
            if state == before {
                return Ok(state);
            }
        }
        Err(Violation::new(Property::ComesToRest, "it goes round and round"))
    }

    /// Until it has ended or can do nothing now.
    fn run_migrator(&mut self, state: &mut State, process: usize) -> Result<(), Violation> {
        if !state.migrators[process].machine.runs() {
            match self.start_migrator(state, process) {
                Some(started) => *state = started,
                None => return Ok(()),
            }
        }
        for _ in 0..STEPS_MAX {
            if !state.migrators[process].machine.runs() {
                return Ok(());
            }
            self.step(state, |world, state, out| world.due_step(state, process, out))?;
        }
        Err(Violation::new(Property::ComesToRest, format!("process {process} goes on and on")))
    }

    /// Until its append is settled.
    fn run_writer(&mut self, state: &mut State, writer: usize) -> Result<(), Violation> {
        let settled = state.writers[writer].settled;
        for _ in 0..STEPS_MAX {
            if state.writers[writer].settled != settled || self.event_of(state, writer).is_none() {
                return Ok(());
            }
            self.step(state, |world, state, out| world.writer_steps(state, writer, out))?;
        }
        Err(Violation::new(Property::ComesToRest, format!("writer {writer} goes on and on")))
    }

    /// Takes the first of the possible steps; false if there is none.
    fn step(
        &mut self,
        state: &mut State,
        steps: impl FnOnce(&mut Self, &State, &mut Vec<Successor>),
    ) -> Result<bool, Violation> {
        let mut out = Vec::new();
        steps(self, state, &mut out);
        let Some(first) = out.into_iter().next() else { return Ok(false) };
        let after = first.after?;
        if let Some(trace) = &mut self.trace {
            trace.push((first.label, *state, after));
        }
        self.check_step(state, &after)?;
        self.check_state(&after)?;
        *state = after;
        Ok(true)
    }
}

/// A schedule, step by step.
pub(crate) struct Replayed {
    pub(crate) steps: Vec<Step>,
    /// What everybody did after it, running without faults.
    pub(crate) run_out: Vec<Step>,
    pub(crate) broken: Option<Violation>,
    pub(crate) world: World,
}

/// Runs one schedule again; the violation, if it leads to one.
pub(crate) fn replay(configuration: Configuration, schedule: &[u16]) -> Replayed {
    let mut world = World::new(configuration);
    let mut state = world.initial();
    let mut steps = Vec::new();
    let mut broken = None;
    for step in schedule {
        let mut successors = Vec::new();
        world.successors(&state, &mut successors);
        let taken = successors.into_iter().nth(usize::from(*step));
        let taken = taken.expect("the schedule belongs to this configuration");
        let checked = taken.after.and_then(|after| {
            world.check_step(&state, &after)?;
            Ok(after)
        });
        match checked {
            Ok(after) => {
                steps.push((taken.label, state, after));
                state = after;
                broken = world.check_state(&state).err();
            }
            Err(violation) => {
                steps.push((taken.label, state, state));
                broken = Some(violation);
            }
        }
        if broken.is_some() {
            break;
        }
    }
    // Any of the orders in which everybody may run.
    let mut run_out = Vec::new();
    for seed in 0..8 {
        if broken.is_none() && configuration.run_outs {
            world.trace = Some(Vec::new());
            broken = world.run_out(&state, seed).err();
            run_out = world.trace.take().unwrap_or_default();
        }
    }
    Replayed { steps, run_out, broken, world }
}

/// Multiplies and folds, eight bytes at a time.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// For keys that are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 is hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
