//! Which partition a stream belongs to: fixed for ever, because cursors depend on it.

use millstream_core::{GroupName, GroupSpec, Pattern, Poison, bucket, partition_of};
use proptest::prelude::*;

#[test]
fn buckets_are_what_they_were() {
    // From another implementation: `printf '%s' <stream> | md5sum`, the first four digits, modulo 1024.
    for (stream, first_digits) in [("", 0xd41d_u16), ("a", 0x0cc1), ("abc", 0x9001), ("message digest", 0xf96b)] {
        assert_eq!(bucket(stream), first_digits & 1023, "{stream:?}");
    }
}

proptest! {
    #[test]
    fn every_stream_has_one_partition(stream in ".{0,255}", power in 0_u32..=10) {
        let partitions = 1_u16 << power;
        let partition = partition_of(&stream, partitions);
        prop_assert!(partition < partitions);
        // Half as many partitions join neighbours, and tear no stream apart.
        prop_assert_eq!(partition % (partitions / 2).max(1), partition_of(&stream, (partitions / 2).max(1)));
    }
}

#[test]
fn partitions_are_a_power_of_two() {
    let spec = GroupSpec::new(GroupName::new("g").unwrap(), Pattern::All);
    for partitions in [1, 2, 64, 1024] {
        assert!(GroupSpec { partitions, ..spec.clone() }.check().is_ok(), "{partitions}");
    }
    for partitions in [0, 3, 63, 2048, u16::MAX] {
        let error = GroupSpec { partitions, ..spec.clone() }.check().unwrap_err().to_string();
        assert!(error.contains("a power of two from 1 to 1024"), "{error}");
    }
}

#[test]
fn a_poison_policy_is_read_back() {
    for poison in [Poison::Stop, Poison::ParkEvent, Poison::ParkStream] {
        assert_eq!(poison.to_string().parse::<Poison>().unwrap(), poison);
    }
    assert!("parked".parse::<Poison>().is_err());
}
