//! stub
use std::sync::Arc;
use libtest_mimic::Trial;
use super::harness::Harness;
pub(super) fn trials(_harness: &Arc<dyn Harness>) -> Vec<Trial> { Vec::new() }
