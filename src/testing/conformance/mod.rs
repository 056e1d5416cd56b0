//! The promises of the ports, one small case each, over whatever keeps them.
//!
//! [`store`] and [`documents`] put the two ports to the test, [`client`] what an application sees:
//! a store under a thin adapter, a proxy through its own client, a proxy while the object moves;
//! [`interface`] what only a whole proxy has, over stores of any kind: sessions, followers, reads
//! from anywhere; [`lock`], [`coordination`] the pauses, [`hints`] what proxies tell each other.
//! Each suite has one list of cases; `tests/conformance.rs` has a row for every subject.

pub mod client;
pub mod coordination;
pub mod documents;
pub mod hints;
pub mod interface;
pub mod lock;
pub mod store;
mod wire;

use std::future::Future;
use std::pin::Pin;

/// One promise, under test.
pub struct Case<S> {
    pub name: &'static str,
    pub run: fn(S) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a subject may have to say once a case is over.
pub trait Finish: Clone {
    fn finish(&self) -> impl Future<Output = ()> + Send;
}

/// Runs one case and hears what its subject has to say.
pub async fn put_to_test<S: Finish, F: Future<Output = ()>>(subject: S, case: fn(S) -> F) {
    case(subject.clone()).await;
    subject.finish().await;
}

/// Makes of one list of cases both a table and the macro that takes rows of
/// `name => expression`, each of which becomes a module with a test for every case.
///
/// The first token is a dollar sign: the inner macro's own.
macro_rules! suite {
    ($d:tt $rows:ident, $suite:ident over $subject:ty, [$($case:ident)*]) => {
        /// Every case of this suite by its name.
        pub const CASES: &[$crate::testing::conformance::Case<$subject>] = &[$(
            $crate::testing::conformance::Case {
                name: stringify!($case),
                run: |subject| Box::pin($crate::testing::conformance::put_to_test(subject, $case)),
            },
        )*];

        /// Rows of `name => subject`: a module for each subject, in it a test for each case.
        #[macro_export]
        macro_rules! $rows {
            ($d($d name:ident => $d subject:expr),+ $d(,)?) => {$d(
                mod $d name {
                    use super::*;
                    $(
                        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                        async fn $case() {
                            use $crate::testing::conformance::{put_to_test, $suite};
                            put_to_test($d subject, $suite::$case).await;
                        }
                    )*
                }
            )+};
        }
    };
}
use suite;

#[cfg(test)]
mod tests {
    use super::*;

    /// A case that is written but not listed would never run.
    #[test]
    fn every_case_that_is_written_is_listed() {
        let listed: [(&[&str], Vec<&str>); 7] = [
            (hints::SOURCES, hints::CASES.iter().map(|case| case.name).collect()),
            (store::SOURCES, store::CASES.iter().map(|case| case.name).collect()),
            (documents::SOURCES, documents::CASES.iter().map(|case| case.name).collect()),
            (coordination::SOURCES, coordination::CASES.iter().map(|case| case.name).collect()),
            (lock::SOURCES, lock::CASES.iter().map(|case| case.name).collect()),
            (client::SOURCES, client::CASES.iter().map(|case| case.name).collect()),
            (interface::SOURCES, interface::CASES.iter().map(|case| case.name).collect()),
        ];
        for (sources, mut listed) in listed {
            let lines = sources.iter().flat_map(|source| source.lines());
            let mut written: Vec<&str> = lines
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
                .collect();
            written.sort_unstable();
            listed.sort_unstable();
            assert_eq!(written, listed);
        }
    }
}
