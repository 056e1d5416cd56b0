//! The protocol, explored exhaustively within bounds: the real machine, the real object document
//! and the real judge of appends and closes, in a world where every call may be done, done without
//! an answer, or done late, and every process may die between two calls.
//!
//! `STREAMGATE_MODEL=wide cargo test --test model` explores further. A counterexample is printed
//! step by step, with the line that replays it.

mod calls;
mod cast;
mod configurations;
mod documents;
mod explorer;
mod machines;
mod migrator;
mod operators;
mod properties;
mod reader;
mod report;
mod state;
mod world;
mod writer;

use configurations::{CONTINUATIONS, Configuration, ENDED, ONE_MOVE, SEVERAL_MOVES, misreadings};
use explorer::{Explorer, replay};
use report::{REPLAY, Table};

fn widened(configuration: &Configuration) -> Configuration {
    let wide = std::env::var("STREAMGATE_MODEL").is_ok_and(|asked| asked == "wide");
    let faults = if wide { configuration.faults_wide } else { configuration.faults };
    Configuration { faults, ..*configuration }
}

#[track_caller]
fn hold(configurations: &[Configuration]) {
    let mut table = Table::default();
    let mut broken = Vec::new();
    for configuration in configurations.iter().map(widened) {
        let found = Explorer::new(configuration).explore();
        table.add(&configuration, &found);
        broken.extend(found.broken.map(|broken| report::tell(&configuration, &broken)));
    }
    table.print();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn one_move_holds() {
    hold(ONE_MOVE);
}

#[test]
fn ended_migrations_hold() {
    hold(ENDED);
}

#[test]
fn several_moves_hold() {
    hold(SEVERAL_MOVES);
}

#[test]
fn continuations_hold() {
    hold(CONTINUATIONS);
}

#[test]
fn every_misreading_is_caught() {
    let mut table = Table::default();
    let mut missed = Vec::new();
    for caught in misreadings() {
        let found = Explorer::new(caught.configuration).explore();
        table.add(&caught.configuration, &found);
        match found.broken {
            None => missed.push(format!("{} is not caught", caught.configuration.name)),
            Some(broken) if broken.violation.property != caught.by => {
                let told = report::tell(&caught.configuration, &broken);
                missed.push(format!("not by {:?}, but{told}", caught.by));
            }
            Some(_) => {}
        }
    }
    table.print();
    assert!(missed.is_empty(), "\n{}", missed.join("\n"));
}

/// Replays what the environment names, else the way to one misreading.
#[test]
fn a_schedule_replays() {
    let asked = std::env::var(REPLAY).ok();
    let text = asked.clone().unwrap_or_else(|| {
        let misread = misreadings().into_iter().next().expect("there are misreadings");
        let found = Explorer::new(misread.configuration).explore();
        let broken = found.broken.expect("a misreading is caught");
        report::schedule_text(&misread.configuration, &broken.schedule)
    });
    let (name, schedule) = report::schedule_of(&text);
    let misread = misreadings().into_iter().map(|caught| caught.configuration);
    let all = [ONE_MOVE, ENDED, SEVERAL_MOVES, CONTINUATIONS]
        .concat()
        .into_iter()
        .map(|one| widened(&one));
    let mut all = all.chain(misread);
    let configuration = all.find(|one| one.name == name).expect("a configuration of this name");
    let replayed = replay(configuration, &schedule);
    println!("{}{:?}", report::steps_of(&replayed), replayed.broken);
    assert!(replayed.broken.is_some() != asked.is_some(), "{:?}", replayed.broken);
}
