//! Live progress on stderr: bars on a terminal, now and then a line elsewhere.

use std::{collections::HashMap, io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use millstream::{JobCounts, QueueName};

use crate::output::Output;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Progress of some queues.
pub(super) struct Bars {
    output: Output,
    live: Option<MultiProgress>,
    bars: HashMap<QueueName, ProgressBar>,
    line_at: Duration,
}

impl Bars {
    pub(super) fn new(output: &Output) -> Self {
        let terminal = !output.quiet && std::io::stderr().is_terminal();
        let live = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { output: *output, live, bars: HashMap::new(), line_at: LINE_EVERY }
    }

    pub(super) fn show(&mut self, counts: &[(QueueName, JobCounts)], now: Duration) {
        match &self.live {
            Some(live) => {
                for (queue, counts) in counts.iter().filter(|(_, counts)| counts.total() > 0) {
                    let bar = self.bars.entry(queue.clone()).or_insert_with(|| live.add(bar(queue)));
                    bar.set_length(counts.total());
                    bar.set_position(counts.total() - counts.unfinished());
                    bar.set_message(said(counts));
                }
            }
            None if now >= self.line_at => {
                self.line_at = now + LINE_EVERY;
                for (queue, counts) in counts.iter().filter(|(_, counts)| counts.total() > 0) {
                    let settled = counts.total() - counts.unfinished();
                    self.output.talk(format_args!("{queue}: {settled} of {} settled{}", counts.total(), said(counts)));
                }
            }
            None => {}
        }
    }

    /// Takes the bars away: the summary says the rest.
    pub(super) fn end(&mut self) {
        self.bars.values().for_each(ProgressBar::finish_and_clear);
    }
}

fn bar(queue: &QueueName) -> ProgressBar {
    let bar = ProgressBar::no_length().with_prefix(queue.to_string());
    match ProgressStyle::with_template("{prefix:<14} {bar:30} {pos}/{len}{msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn said(counts: &JobCounts) -> String {
    let mut text = String::new();
    for (number, word) in [(counts.active, "running"), (counts.delayed, "waiting for another attempt")] {
        if number > 0 {
            text.push_str(&format!(", {number} {word}"));
        }
    }
    text
}
