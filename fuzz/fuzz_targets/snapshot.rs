//! Lines of the feed and of the state file, and the units in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_engine::snapshot::Line;

fuzz_target!(|json: &[u8]| {
    for json in json.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Line>(json) else { continue };
        let written = serde_json::to_vec(&line).expect("a line that was read can be written");
        let again: Line = serde_json::from_slice(&written).expect("a line that was written can be read");
        assert_eq!(again, line);
    }
});
