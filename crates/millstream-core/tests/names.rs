//! Names: what is accepted is exactly what their documentation says.

use millstream_core::{GroupName, JobId, JobName, Pattern, QueueName, StreamName};
use proptest::prelude::*;

/// Text that is mostly near the border of what is valid.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_./-]{0,300}",
        "[A-Za-z0-9_./ é*-]{0,20}",
        "[a-z\\x00-\\x1f\\x7f\u{80}-\u{9f}]{0,6}",
        "é{120,130}",
    ]
}

proptest! {
    #[test]
    fn a_queue_name_is_as_documented(text in text()) {
        let valid = (1..=255).contains(&text.len())
            && text.chars().all(|char| char.is_ascii_alphanumeric() || "_.-/".contains(char));
        prop_assert_eq!(QueueName::new(text.as_str()).is_ok(), valid);
    }

    #[test]
    fn a_job_name_and_a_job_id_are_as_documented(text in text()) {
        let valid = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        prop_assert_eq!(JobName::new(text.as_str()).is_ok(), valid);
        prop_assert_eq!(JobId::new(text.as_str()).is_ok(), valid);
    }

    #[test]
    fn a_stream_name_is_as_documented(text in text()) {
        let stored = (1..=255).contains(&text.len()) && !text.contains('\0');
        prop_assert_eq!(StreamName::stored(text.as_str()).is_ok(), stored);
        let valid = stored && !text.contains('*');
        prop_assert_eq!(StreamName::new(text.as_str()).is_ok(), valid);
        // Whatever has a name can be asked for by it.
        if let Ok(name) = StreamName::new(text.as_str()) {
            prop_assert_eq!(Pattern::new(name.as_str()).unwrap(), Pattern::Exact(name));
        }
    }

    #[test]
    fn a_group_name_is_as_documented(text in text()) {
        let stored = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
        prop_assert_eq!(GroupName::stored(text.as_str()).is_ok(), stored);
        let valid = stored && !text.contains('*') && !text.chars().any(char::is_whitespace);
        prop_assert_eq!(GroupName::new(text.as_str()).is_ok(), valid);
    }

    #[test]
    fn a_name_reads_as_it_was_written(text in text()) {
        if let Ok(id) = JobId::new(text.as_str()) {
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<JobId>(&json).unwrap(), id);
        } else {
            prop_assert!(serde_json::from_value::<JobId>(text.into()).is_err());
        }
    }

    #[test]
    fn a_pattern_matches_what_starts_with_its_prefix(prefix in "[a_%\\\\é*]{0,4}", stream in "[a_%\\\\é]{1,6}") {
        match Pattern::new(&format!("{prefix}*")) {
            Ok(pattern) => prop_assert_eq!(pattern.matches(&stream), stream.starts_with(&prefix)),
            Err(_) => prop_assert!(prefix.contains('*')),
        }
        match Pattern::new(&prefix) {
            Ok(Pattern::Exact(_)) => {
                prop_assert!(!prefix.contains('*'));
                prop_assert_eq!(Pattern::new(&prefix).unwrap().matches(&stream), stream == prefix);
            }
            Ok(_) => prop_assert!(prefix.ends_with('*')),
            Err(_) => prop_assert!(prefix.is_empty() || prefix.contains('*')),
        }
    }

    #[test]
    fn a_pattern_reads_as_it_was_written(text in "[a*:_]{1,5}") {
        if let Ok(pattern) = Pattern::new(&text) {
            prop_assert_eq!(pattern.to_string(), text);
        }
    }
}
