//! What people see: the table, and a schedule step by step with the line that replays it.

use std::fmt::Write as _;

use super::cast::SLOTS;
use super::configurations::Configuration;
use super::explorer::{Broken, Explored, Replayed, replay};
use super::machines::Due;
use super::state::{State, WriterStep};
use super::world::{Actor, Fate, Label, World};

/// Names the configuration and the steps of a schedule.
pub(crate) const REPLAY: &str = "STREAMGATE_MODEL_REPLAY";

#[derive(Default)]
pub(crate) struct Table {
    rows: String,
}

impl Table {
    pub(crate) fn add(&mut self, configuration: &Configuration, found: &Explored) {
        if self.rows.is_empty() {
            self.rows += "| configuration | what | faults | states | transitions | depth ";
            self.rows += "| run-outs | result |\n|---|---|---|---|---|---|---|---|\n";
        }
        let faults = configuration.faults.map_or("unbounded".into(), |most| most.to_string());
        let result = match &found.broken {
            None => "holds".to_owned(),
            Some(Broken { violation, schedule }) => {
                let (property, steps) = (violation.property, schedule.len());
                format!("{property:?} after {steps} steps: {}", violation.told)
            }
        };
        let Configuration { name, about, .. } = configuration;
        let Explored { states, transitions, depth, run_outs, .. } = found;
        let row = format!(
            "| `{name}` | {about} | {faults} | {states} | {transitions} | {depth} | {run_outs} \
             | {result} |"
        );
        println!("{row}");
        self.rows += &row;
        self.rows.push('\n');
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.rows);
    }
}

pub(crate) fn schedule_text(configuration: &Configuration, schedule: &[u16]) -> String {
    let steps: Vec<String> = schedule.iter().map(u16::to_string).collect();
    format!("{}:{}", configuration.name, steps.join("."))
}

pub(crate) fn schedule_of(text: &str) -> (&str, Vec<u16>) {
    let (name, steps) = text.split_once(':').expect("a name, a colon and steps");
    let steps = steps.split('.').filter(|step| !step.is_empty());
    (name, steps.map(|step| step.parse().expect("steps are numbers")).collect())
}

/// The counterexample for people, and how to see it again.
pub(crate) fn tell(configuration: &Configuration, broken: &Broken) -> String {
    let replayed = replay(*configuration, &broken.schedule);
    let mut text = format!(
        "\n{}: {:?} does not hold: {}\n",
        configuration.name, broken.violation.property, broken.violation.told
    );
    text += &steps_of(&replayed);
    let schedule = schedule_text(configuration, &broken.schedule);
    let _ = write!(
        text,
        "replay it: {REPLAY}={schedule} cargo test --test model a_schedule -- --nocapture"
    );
    text
}

pub(crate) fn steps_of(replayed: &Replayed) -> String {
    let mut text = String::new();
    let mut number = 0;
    for (label, before, after) in &replayed.steps {
        number += 1;
        let _ = writeln!(text, "{number:3}. {}", describe(&replayed.world, *label, before, after));
    }
    if !replayed.run_out.is_empty() {
        text += "from here on everybody runs without faults:\n";
    }
    for (label, before, after) in &replayed.run_out {
        number += 1;
        let _ = writeln!(text, "{number:3}. {}", describe(&replayed.world, *label, before, after));
    }
    text
}

fn describe(world: &World, label: Label, before: &State, after: &State) -> String {
    let who = match label.actor {
        Actor::Migrator(process) => {
            let migration = world.configuration.migrators[usize::from(process)];
            format!("process {process} of m{migration}{}", effect(world, process, label, before))
        }
        Actor::Writer(writer) => {
            let event = world.event_of(before, usize::from(writer)).unwrap_or_default();
            let step = after.writers[usize::from(writer)].step;
            let was = before.writers[usize::from(writer)].step;
            let outcome = match (step, label.fate) {
                (WriterStep::Ready, Fate::Done | Fate::Over(_)) => "settled".to_owned(),
                (step, _) => format!("{step:?}"),
            };
            format!("writer {writer}, e{event}: {was:?} -> {outcome}")
        }
        Actor::Reader => format!("reader: {:?} -> {:?}", before.reader.step, after.reader.step),
        Actor::Asker(migration, source) => format!("m{migration} is asked for, from {source}"),
        Actor::Canceller(migration) => format!("m{migration} is cancelled"),
        Actor::Deleter(slot) => format!("stream {slot} is deleted"),
        Actor::Foreigner => "a stranger writes".to_owned(),
        Actor::Network => format!("late: {:?}", before.late),
    };
    let fate = match label.fate {
        Fate::Done => String::new(),
        Fate::Over(route) => format!(" (over {route})"),
        Fate::AnswerLost => ", answer lost".into(),
        Fate::NotDone => ", not done, no answer".into(),
        Fate::OnItsWay => ", on its way".into(),
        Fate::Crash => " crashes".into(),
        Fate::Starts => " starts".into(),
        Fate::Looks => " reads its orders".into(),
        Fate::TimesOut => " runs out of time".into(),
    };
    format!("{who}{fate}{}", changes(world, before, after))
}

fn effect(world: &World, process: u8, label: Label, before: &State) -> String {
    let acts = !matches!(label.fate, Fate::Crash | Fate::Starts | Fate::Looks | Fate::TimesOut);
    let machine = before.migrators[usize::from(process)].machine;
    if acts && machine.runs() {
        return match world.machines.due(machine) {
            Due::Nothing => String::new(),
            due => format!(": {due:?}"),
        };
    }
    String::new()
}

/// What became different among the things that last.
fn changes(world: &World, before: &State, after: &State) -> String {
    let mut text = String::new();
    for slot in 0..SLOTS {
        let (old, new) = (before.streams[slot], after.streams[slot]);
        if old != new {
            let _ = write!(text, "; stream {slot}: {:?}", new.contents);
            if let Some(close) = new.closed {
                let _ = write!(text, " closed by m{} to {:?}", close.by, close.to);
            }
            if new.removed {
                text += " removed";
            }
        }
    }
    if before.document != after.document
        && let Some(look) = world.look(after.document)
    {
        let (active, running, revision) = (look.active(), look.running, look.revision);
        let running = running.map(|running| format!("m{}", running.migration));
        let _ = write!(text, "; document {revision}: active {active}, running {running:?}");
    }
    for (number, (old, new)) in before.records.iter().zip(&after.records).enumerate() {
        if old != new {
            let (ended, released, finished) = (new.seen.ended, new.seen.released, new.finished);
            let _ = write!(
                text,
                "; record m{number}: ended {ended:?}, released {released}, target {:?}, \
                 final {finished:?}",
                new.target
            );
        }
    }
    text
}
