//! Migrations of whole proxies over stores that fail: scenarios, races by name, and the crash
//! matrix.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by failing")]
mod chains;
mod crash_matrix;
mod cut_off;
mod kit;
mod leases;
mod pages;
mod races;
mod scenarios;
mod survival;
mod together;
mod zombie;
