//! What a console sends beside a plan: a delivery instruction, the procedure step of a quality check, and all of it in one multipart
//! body. An error, or what is in order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treatment::Instruction;

fuzz_target!(|data: &[u8]| {
    if let Ok(instruction) = Instruction::parse(data) {
        assert!(
            !instruction.beams.is_empty() && instruction.continued.keys().all(|beam| instruction.beams.contains(beam))
        );
    }
    if let Ok(parts) = edge::stow::parts(data, "b") {
        assert!(!parts.is_empty() && parts.iter().map(|part| part.len()).sum::<usize>() < data.len());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(edge::stow::boundary(text).is_none_or(|boundary| (1..=70).contains(&boundary.len())));
    }
    for syntax in ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"] {
        if let Ok(order) = edge::steps::read(data, syntax) {
            assert!(!order.plan.is_empty());
        }
    }
});
