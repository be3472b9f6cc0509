//! What a peer may send to hurt: every answer is a typed error or an object, never a panic, never an abort.

use dicom_dictionary_std::uids;
use proptest::prelude::*;
use treatment::dicom::scan::Tree;
use treatment::{Instance, Plan, ScanError};

use crate::build::{EXPLICIT, IMPLICIT, all, data_set, file};

/// `levels` sequences inside one another, of undefined length, never closed.
fn nested(levels: usize, explicit: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..levels {
        // Beam Sequence, then its item.
        out.extend([0x0A, 0x30, 0xB0, 0x00]);
        if explicit {
            out.extend(b"SQ\0\0");
        }
        out.extend([0xFF; 4]);
        out.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    out
}

#[test]
fn deep_nesting_is_refused_by_number() {
    for explicit in [false, true] {
        let syntax = if explicit { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uids::IMPLICIT_VR_LITTLE_ENDIAN };
        for levels in [17, 1_000, 100_000] {
            let bytes = nested(levels, explicit);
            assert!(matches!(
                Instance::parse_data_set(&bytes, syntax),
                Err(treatment::ObjectError::Scan(ScanError::TooDeep { .. }))
            ));
        }
        // Sixteen levels are read; what is missing then is their end.
        let shallow = nested(16, explicit);
        assert!(matches!(Tree::of_data_set(&shallow, syntax), Err(ScanError::Truncated { .. })));
    }
    // An unknown value of undefined length is a sequence too.
    let mut unknown = Vec::new();
    for _ in 0..100_000 {
        unknown.extend([
            0x09, 0x00, 0x10, 0x10, b'U', b'N', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF,
            0xFF,
        ]);
    }
    assert!(Tree::of_data_set(&unknown, uids::EXPLICIT_VR_LITTLE_ENDIAN).is_err());
}

#[test]
fn every_truncation_is_an_error() {
    for (name, plan) in all() {
        for layout in [IMPLICIT, EXPLICIT] {
            let whole = file(&plan, layout);
            let digest = Plan::parse(&whole).unwrap().digest();
            for length in 0..whole.len() {
                // What ends between two elements of the outermost level is whole; all that was lost then is Approval
                // Status, which is nobody's signature.
                if let Ok(plan) = Plan::parse(&whole[..length]) {
                    assert_eq!((plan.digest(), plan.approval_status), (digest, None), "{name}: {length} bytes");
                }
            }
        }
    }
}

#[test]
fn lengths_beyond_the_end_are_refused() {
    let plan = crate::build::electrons();
    let bytes = data_set(&plan, IMPLICIT);
    for at in (4..bytes.len()).step_by(2) {
        for length in [u32::MAX, u32::MAX - 1, 0x7FFF_FFFE, 1 << 28] {
            let mut bytes = bytes.clone();
            let Some(field) = bytes.get_mut(at..at + 4) else { continue };
            field.copy_from_slice(&length.to_le_bytes());
            let _ = Plan::parse_data_set(&bytes, uids::IMPLICIT_VR_LITTLE_ENDIAN);
        }
    }
    let oversized = [&[0x08, 0, 0x05, 0][..], &0x7FFF_FFFE_u32.to_le_bytes(), b"AB"].concat();
    let error = Tree::of_data_set(&oversized, uids::IMPLICIT_VR_LITTLE_ENDIAN).err().unwrap();
    assert_eq!(error, ScanError::Truncated { at: 8, needed: 0x7FFF_FFFE, left: 2 });
    assert_eq!(error.to_string(), "byte 8: 2147483646 bytes are announced, 2 are left");
}

/// A control point of a few bytes takes over all that stood before it: a small file must not become a large plan.
#[test]
fn little_bytes_make_no_large_plan() {
    use dicom_dictionary_std::tags as t;
    use treatment::PlanError;
    let point = |i: usize| {
        crate::build::Item::new().with(t::CONTROL_POINT_INDEX, i.to_string()).with(t::CUMULATIVE_METERSET_WEIGHT, "1")
    };
    let with = |points: usize, leaves: usize| {
        let mut plan = crate::build::photons();
        let beam = plan.at(&crate::build::beam_at(0));
        let boundaries: Vec<String> = (0..=leaves).map(|i| i.to_string()).collect();
        let device = beam.at(&[(t::BEAM_LIMITING_DEVICE_SEQUENCE, 2)]);
        device.set(t::NUMBER_OF_LEAF_JAW_PAIRS, leaves.to_string());
        device.set(t::LEAF_POSITION_BOUNDARIES, boundaries.join("\\"));
        beam.at(&[(t::CONTROL_POINT_SEQUENCE, 0), (t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, 2)])
            .set(t::LEAF_JAW_POSITIONS, vec!["1"; 2 * leaves].join("\\"));
        beam.sequence(t::CONTROL_POINT_SEQUENCE).extend((2..points).map(point));
        beam.set(t::NUMBER_OF_CONTROL_POINTS, points.to_string());
        Plan::parse(&file(&plan, IMPLICIT))
    };
    assert!(with(1_000, 80).is_ok());
    assert!(matches!(with(100_000, 4), Err(PlanError::TooMany { what: "values", .. })));
    assert!(matches!(with(3_000, 10_000), Err(PlanError::TooMany { what: "numbers", .. })));
    let mut plan = crate::build::photons();
    let wedges = plan.at(&crate::build::beam_at(1)).sequence(t::WEDGE_SEQUENCE);
    for number in 2..=101 {
        let wedge = wedges[0].clone().with(t::WEDGE_NUMBER, number.to_string());
        wedges.push(wedge);
    }
    assert!(matches!(Plan::parse(&file(&plan, IMPLICIT)), Err(PlanError::TooMany { what: "items", .. })));
}

/// So many private elements, each under a tag of its own.
fn private(count: u32) -> impl Iterator<Item = (dicom_core::Tag, crate::build::V)> {
    let tag = |i: u32| {
        let group = 0x3289 + 2 * (i / 0xF000);
        dicom_core::Tag(u16::try_from(group).unwrap(), u16::try_from(0x1000 + i % 0xF000).unwrap())
    };
    (0..count).map(move |i| (tag(i), crate::build::V::Text(dicom_core::VR::LO, String::new())))
}

/// A setup that every beam refers to counts once against what may be read of a plan.
#[test]
fn what_is_shared_is_read_once() {
    use dicom_dictionary_std::tags as t;
    let with = |beams: u32, elements: u32| {
        let mut plan = crate::build::photons();
        let (first, reference) = {
            let first = plan.at(&crate::build::beam_at(0)).clone();
            let group = plan.at(&[(t::FRACTION_GROUP_SEQUENCE, 0)]);
            (first, group.at(&[(t::REFERENCED_BEAM_SEQUENCE, 0)]).clone())
        };
        for number in 10..10 + beams {
            let number = number.to_string();
            plan.sequence(t::BEAM_SEQUENCE).push(first.clone().with(t::BEAM_NUMBER, number.clone()));
            let group = plan.at(&[(t::FRACTION_GROUP_SEQUENCE, 0)]);
            group.sequence(t::REFERENCED_BEAM_SEQUENCE).push(reference.clone().with(t::REFERENCED_BEAM_NUMBER, number));
            group.set(t::NUMBER_OF_BEAMS, (beams + 2).to_string());
        }
        for shared in [t::PATIENT_SETUP_SEQUENCE, t::TOLERANCE_TABLE_SEQUENCE] {
            plan.at(&[(shared, 0)]).0.extend(private(elements));
        }
        Plan::parse(&file(&plan, IMPLICIT))
    };
    with(200, 3_000).unwrap();
    let error = with(0, 500_000).unwrap_err();
    assert_eq!(error.to_string(), "beam 1 setup: more than 500000 elements");
}

/// Values are counted before any is decoded: here every one is faulty, and the number is what is refused.
#[test]
fn values_are_counted_before_they_are_decoded() {
    use dicom_dictionary_std::tags as t;
    let refusal = |tag, path: &[(dicom_core::Tag, usize)], values: usize| {
        let mut plan = crate::build::photons();
        plan.at(path).set(tag, vec!["x"; values].join("\\"));
        Plan::parse(&file(&plan, IMPLICIT)).unwrap_err().to_string()
    };
    let point = crate::build::point_at(0, 0);
    let leaves = [&point[..], &[(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, 2)]].concat();
    assert!(refusal(t::LEAF_JAW_POSITIONS, &leaves, 8).contains("value 1 is not a number"));
    assert!(refusal(t::LEAF_JAW_POSITIONS, &leaves, 7).contains("it has 7 values, it takes pairs"));
    let many = refusal(t::LEAF_JAW_POSITIONS, &leaves, 1_000_002);
    assert!(many.contains("it has 1000002 values, it takes 1000000 at most"), "{many}");
    assert!(refusal(t::ISOCENTER_POSITION, &point, 4).contains("it has 4 values, it takes 3"));
    assert!(refusal(t::NUMBER_OF_WEDGES, &crate::build::beam_at(0), 3).contains("it has 3 values, it takes 1"));
}

#[test]
fn disorder_is_refused() {
    let element = |tag: [u8; 4]| [&tag[..], &[2, 0, 0, 0], b"A "].concat();
    let (low, high) = (element([0x08, 0, 0x05, 0]), element([0x10, 0, 0x10, 0]));
    let scan = |bytes: &[u8]| Tree::of_data_set(bytes, uids::IMPLICIT_VR_LITTLE_ENDIAN).err();
    assert_eq!(scan(&[low.clone(), high.clone()].concat()), None);
    assert!(matches!(scan(&[high.clone(), low.clone()].concat()), Some(ScanError::Order { at: 10, .. })));
    assert!(matches!(scan(&[low.clone(), low].concat()), Some(ScanError::Order { .. })));
    assert!(matches!(scan(&element([0x02, 0, 0x10, 0])), Some(ScanError::Misplaced { .. })));
    assert!(matches!(scan(&[0x08, 0, 0x05, 0, 1, 0, 0, 0, b'A']), Some(ScanError::OddLength { length: 1, .. })));
    // A stray delimiter, an item outside of a sequence, an undefined length on a text.
    for stray in [[0xFE, 0xFF, 0xDD, 0xE0], [0xFE, 0xFF, 0x0D, 0xE0], [0xFE, 0xFF, 0x00, 0xE0]] {
        assert!(matches!(scan(&[&stray[..], &[0; 4]].concat()), Some(ScanError::Misplaced { .. })));
    }
    let endless = [0x08, 0, 0x05, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    assert!(matches!(scan(&endless), Some(ScanError::UndefinedLength { .. })));
}

#[test]
fn transfer_syntaxes_are_refused_by_name() {
    for (uid, reads) in [
        (uids::IMPLICIT_VR_LITTLE_ENDIAN, true),
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, true),
        ("1.2.840.10008.1.2.4.70", true),
        ("1.2.840.10008.1.2.4.90", true),
        ("1.2.840.10008.1.2.2", false),
        (uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, false),
        ("1.2.3", false),
        ("\u{1b}[31m", false),
    ] {
        let result = treatment::dicom::scan::Encoding::of(uid);
        assert_eq!(result.is_ok(), reads, "{uid}");
        if let Err(error) = result {
            assert!(error.to_string().chars().all(|c| !c.is_control()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), explicit: bool) {
        let syntax = if explicit { uids::EXPLICIT_VR_LITTLE_ENDIAN } else { uids::IMPLICIT_VR_LITTLE_ENDIAN };
        let _ = Instance::parse(&bytes);
        let _ = Plan::parse_data_set(&bytes, syntax);
    }

    #[test]
    fn no_damaged_plan_panics(which in 0..5_usize, explicit: bool, damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let plan = &all()[which].1;
        let mut bytes = file(plan, if explicit { EXPLICIT } else { IMPLICIT });
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(error) = Plan::parse(&bytes) {
            let shown = error.to_string();
            prop_assert!(!shown.contains("MRN-7") && !shown.contains("അമ്മിണി"), "{}", shown);
        }
        let _ = treatment::TreatmentRecord::parse(&bytes);
    }
}

/// Ours and the library's, which knows nothing of ours: the same elements with the same values.
#[test]
fn the_index_agrees_with_dicom_object() {
    use dicom_object::{InMemDicomObject, OpenFileOptions};
    use treatment::dicom::scan::Set;
    fn compare(ours: Set<'_>, theirs: &InMemDicomObject, seen: &mut usize) {
        let mut left = theirs.iter();
        for element in ours.elements() {
            let other = left.next().unwrap();
            *seen += 1;
            assert_eq!((element.tag(), element.vr()), (other.header().tag, other.header().vr));
            match other.value().items() {
                Some(items) => {
                    let inner: Vec<_> = element.items().collect();
                    assert_eq!(inner.len(), items.len());
                    for (ours, theirs) in inner.into_iter().zip(items) {
                        compare(ours, theirs, seen);
                    }
                }
                None => {
                    let bytes = other.value().to_bytes().unwrap();
                    let trim = |b: &[u8]| b.iter().rposition(|c| !matches!(c, b' ' | 0)).map_or(0, |i| i + 1);
                    assert_eq!(&element.bytes()[..trim(element.bytes())], &bytes[..trim(&bytes)], "{}", element.tag());
                }
            }
        }
        assert!(left.next().is_none());
    }
    for (_, plan) in all() {
        for layout in [IMPLICIT, EXPLICIT] {
            let bytes = file(&plan, layout);
            let theirs = OpenFileOptions::new().from_reader(&bytes[..]).unwrap().into_inner();
            let tree = Tree::of_file(&bytes).unwrap();
            let mut seen = 0;
            compare(tree.root(), &theirs, &mut seen);
            assert!(seen > 80);
        }
    }
}
