//! Followers, one an object: each goes on by its token at any process whenever its own dies or
//! refuses, and has in the end heard exactly the history.

use streamgate::domain::Event;
use streamgate::proxy::ReadCommand;
use streamgate::proxy::read::{Followed, ReadLimits, ReadStart, ResumeToken};

use crate::actors::ask;
use crate::world::{Incarnation, OBJECTS, World};

/// What a follower has heard so far.
#[derive(Default)]
pub(crate) struct Heard {
    events: Vec<Event>,
    token: Option<ResumeToken>,
}

/// Follows until it is dropped.
pub(crate) async fn follower(world: &World, number: usize) {
    loop {
        let through = world.process();
        follow_through(world, number, &through, Until::Forever).await;
        world.idle(50).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Forever,
    CaughtUp,
}

/// Follows through one process, until it dies or refuses. True when it had caught up.
async fn follow_through(world: &World, number: usize, through: &Incarnation, until: Until) -> bool {
    let token = world.heard.borrow()[number].token;
    let start = token.map_or(ReadStart::Outset, ReadStart::Resume);
    let range = ReadLimits { start, ..ReadLimits::default() };
    let command = ReadCommand { object: world.object(number), range };
    let started = ask(world, through, through.process.proxy.read(command)).await;
    let Some(Ok(reader)) = started else { return false };
    let mut follower = reader.follow(None);
    loop {
        let Some(Ok(Some(told))) = ask(world, through, follower.next()).await else { return false };
        match told {
            Followed::Batch(batch) => {
                let heard = &mut world.heard.borrow_mut()[number];
                for recorded in batch.events {
                    let place = heard.events.len() as u64;
                    assert_eq!(recorded.version.0, place, "a follower met a gap or a repeat");
                    heard.events.push(recorded.event);
                }
                heard.token = follower.reader().resume_token();
            }
            Followed::CaughtUp(_) if until == Until::CaughtUp => return true,
            Followed::CaughtUp(_) | Followed::FellBehind(_) | Followed::Heartbeat(_) => {}
        }
    }
}

/// Everything that was appended has been heard, or is now, once and in order.
pub(crate) async fn check_heard(world: &World, number: usize, read: &[Event]) {
    assert!(number < OBJECTS);
    let mut tries = 0;
    loop {
        let through = world.process();
        if follow_through(world, number, &through, Until::CaughtUp).await {
            break;
        }
        tries += 1;
        assert!(tries < 100, "a follower does not come to rest");
    }
    assert_eq!(world.heard.borrow()[number].events, read, "a follower heard another history");
}
