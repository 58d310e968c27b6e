//! Job options as JSON: what is written is read again, and what is not known is refused.

use std::time::Duration;

use millstream_core::{Backoff, JobGroup, JobOptions, Removal};
use proptest::prelude::*;
use serde_json::{Value, json};

fn millis() -> impl Strategy<Value = Duration> {
    (0_u64..1 << 40).prop_map(Duration::from_millis)
}

fn removal() -> impl Strategy<Value = Removal> {
    prop_oneof![
        Just(Removal::Never),
        Just(Removal::AtOnce),
        (any::<Option<u32>>(), prop::option::of(millis())).prop_map(|(count, age)| Removal::Keep { count, age }),
    ]
}

prop_compose! {
    fn options()(
        attempts: Option<u32>,
        backoff in prop::option::of(millis().prop_map(Backoff::fixed)),
        priority: Option<i32>,
        timeout in prop::option::of(millis()),
        delay in prop::option::of(millis()),
        remove_on_complete in prop::option::of(removal()),
        remove_on_fail in prop::option::of(removal()),
        group in prop::option::of(any::<String>().prop_map(JobGroup::new)),
    ) -> JobOptions {
        JobOptions { attempts, backoff, priority, timeout, delay, remove_on_complete, remove_on_fail, group }
    }
}

proptest! {
    #[test]
    fn options_are_read_as_they_were_written(options in options()) {
        let text = serde_json::to_string(&options).unwrap();
        prop_assert_eq!(serde_json::from_str::<JobOptions>(&text).unwrap(), options);
    }

    #[test]
    fn a_removal_is_read_as_it_was_written(removal in removal()) {
        let text = serde_json::to_string(&removal).unwrap();
        prop_assert_eq!(serde_json::from_str::<Removal>(&text).unwrap(), removal);
    }

    #[test]
    fn own_options_win_each_on_its_own(own in options(), defaults in options()) {
        let both = own.clone().or(&defaults);
        prop_assert_eq!(both.attempts, own.attempts.or(defaults.attempts));
        prop_assert_eq!(both.priority, own.priority.or(defaults.priority));
        prop_assert_eq!(both.delay, own.delay.or(defaults.delay));
        prop_assert_eq!(&both.group, &own.group.clone().or(defaults.group));
        prop_assert_eq!(both.remove_on_fail, own.remove_on_fail.or(defaults.remove_on_fail));
        prop_assert_eq!(own.clone().or(&own), own.clone());
        prop_assert_eq!(own.clone().or(&JobOptions::default()), own);
    }
}

#[test]
fn a_removal_is_a_word_or_an_object() {
    let read = |value: Value| serde_json::from_value::<Removal>(value).ok();
    assert_eq!(read(json!(false)), Some(Removal::Never));
    assert_eq!(read(json!(true)), Some(Removal::AtOnce));
    assert_eq!(read(json!({ "count": 5 })), Some(Removal::Keep { count: Some(5), age: None }));
    let age = Some(Duration::from_secs(60));
    assert_eq!(read(json!({ "ageMs": 60_000 })), Some(Removal::Keep { count: None, age }));
    assert_eq!(read(json!({ "count": 1, "ageMs": 60_000 })), Some(Removal::Keep { count: Some(1), age }));
    for wrong in [json!("true"), json!(1), json!(null), json!({ "count": -1 })] {
        assert_eq!(read(wrong.clone()), None, "{wrong}");
    }
}

#[test]
fn options_are_written_in_camel_case_and_only_where_set() {
    let options = JobOptions {
        attempts: Some(5),
        timeout: Some(Duration::from_millis(1500)),
        remove_on_complete: Some(Removal::AtOnce),
        remove_on_fail: Some(Removal::Keep { count: Some(3), age: None }),
        group: Some(JobGroup::new("ada")),
        ..JobOptions::default()
    };
    let wanted = json!({ "group": { "id": "ada" }, "attempts": 5, "timeoutMs": 1500, "removeOnComplete": true, "removeOnFail": { "count": 3 } });
    assert_eq!(serde_json::to_value(options).unwrap(), wanted);
    assert_eq!(serde_json::to_value(JobOptions::default()).unwrap(), json!({}));
}

#[test]
fn an_unknown_option_is_refused_by_its_name() {
    for key in ["attempt", "remove_on_complete", "timeout", "Attempts"] {
        let error = serde_json::from_value::<JobOptions>(json!({ key: 1 })).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
