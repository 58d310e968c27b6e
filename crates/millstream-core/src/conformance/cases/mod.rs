//! The cases, one file per noun. A new file is one line in `nouns!`.

use super::case::Case;

macro_rules! nouns {
    ($($noun:ident)+) => {
        $(mod $noun;)+

        /// Every case, with its noun.
        pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static Case)> {
            [$((stringify!($noun), $noun::CASES)),+]
                .into_iter()
                .flat_map(|(noun, cases)| cases.iter().map(move |case| (noun, case)))
        }
    };
}

nouns! {
    enqueue ids limits options
    claim order settle fence retry snooze release rescue beat brief
    cancel remove promote delayed
    pause counts pages schedules watch wait
    effects append query pattern subscribe retention state
    groups consumers
    capabilities close restart
    worker
}
