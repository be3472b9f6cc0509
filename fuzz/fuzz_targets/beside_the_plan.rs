//! What a console sends beside a plan: a delivery instruction, and the procedure step of a quality check. An error, or the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treatment::Instruction;

fuzz_target!(|data: &[u8]| {
    if let Ok(instruction) = Instruction::parse(data) {
        assert!(!instruction.beams.is_empty() && instruction.continued.is_subset(&instruction.beams));
    }
    for syntax in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"] {
        if let Ok((order, _)) = edge::steps::read(data, syntax) {
            assert!(!order.plan.is_empty());
        }
    }
});
