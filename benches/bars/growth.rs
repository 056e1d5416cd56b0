//! Whether appends grow slower with what is there: at the end of a long stream, and in a store of
//! many objects, beside an empty store.

use crate::load::{self, Clients, Sample};
use crate::report::{Report, Verdict, time};
use crate::served::Served;
use crate::{Bench, Failure};

const P50_RATIO_MAX: f64 = 1.3;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let scale = bench.scale;
    let (empty, full) = (Served::start(scale.stores)?, Served::start(scale.stores)?);
    bench.clients.block_on(async {
        let (new, old) =
            (Clients::connect(empty.address).await?, Clients::connect(full.address).await?);
        load::fill(&new, "one", 1, 1).await?;
        load::fill(&old, "one", 1, scale.long_events).await?;
        load::fill(&old, "many", scale.growth_objects, 1).await?;
        let (mut short, mut long, mut many) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scale.turns {
            short.push(load::appends(&new, "one", 1, 1, scale.turn).await?);
            long.push(load::appends(&old, "one", 1, 1, scale.turn).await?);
            let objects = scale.growth_objects;
            many.push(load::appends(&old, "many", objects, 1, scale.turn).await?);
        }
        let short = Sample::together(short).at(0.5);
        let cases = [
            (format!("append after {} events, p50", scale.long_events), long),
            (format!("append beside {} objects, p50", scale.growth_objects), many),
        ];
        for (what, samples) in cases {
            let grown = Sample::together(samples).at(0.5);
            let ratio = grown.as_secs_f64() / short.as_secs_f64();
            report.row(
                what,
                time(grown),
                format!("new store {}", time(short)),
                format!("{ratio:.2}"),
                format!("at most {P50_RATIO_MAX}"),
                Verdict::of(ratio <= P50_RATIO_MAX),
            );
        }
        Ok(())
    })
}
