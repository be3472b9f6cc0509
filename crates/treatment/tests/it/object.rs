//! What the centre keeps of DICOM, and how it reads whose it is.

use dicom_dictionary_std::{tags as t, uids};
use treatment::{Instance, Kind, ObjectError, ScanError};

use crate::build::{EXPLICIT, IMPLICIT, Item, V, data_set, file, object};

#[test]
fn each_kind_is_known_by_its_class() {
    for kind in Kind::ALL {
        let instance = Instance::parse(&file(&object(kind.sop_class(), "CT"), EXPLICIT)).unwrap();
        assert_eq!(instance.kind, kind);
        assert_eq!(instance.sop_instance, "1.2.3.4");
        assert_eq!((instance.study.as_str(), instance.series.as_str()), ("1.2.3", "1.2.3.1"));
        assert_eq!(instance.patient_id.as_deref(), Some("MRN-7"));
        assert_eq!(instance.patient_name.as_deref(), Some("അമ്മിണി^പരീക്ഷ"));
        assert_eq!(instance.birth_date.as_deref(), Some("19610203"));
        assert_eq!(instance.sex.as_deref(), Some("F"));
        assert_eq!(instance.transfer_syntax, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        assert!(!format!("{instance:?}").contains("MRN"));
    }
    let other = object("1.2.840.10008.5.1.4.1.1.7", "OT");
    assert!(matches!(Instance::parse(&file(&other, EXPLICIT)), Err(ObjectError::Class { .. })));
}

#[test]
fn a_data_set_becomes_a_file_that_reads_the_same() {
    for (layout, syntax) in [(IMPLICIT, uids::IMPLICIT_VR_LITTLE_ENDIAN), (EXPLICIT, uids::EXPLICIT_VR_LITTLE_ENDIAN)] {
        let bytes = data_set(&crate::build::photons(), layout);
        let instance = Instance::parse_data_set(&bytes, syntax).unwrap();
        let wrapped = instance.part10(&bytes);
        assert_eq!(Instance::parse(&wrapped).unwrap(), instance);
        assert!(wrapped.ends_with(&bytes));
        dicom_object::OpenFileOptions::new().from_reader(&wrapped[..]).unwrap();
        // Without any header it is read too, by what its first element looks like.
        assert_eq!(Instance::parse(&bytes).unwrap(), instance);
    }
}

#[test]
fn texts_are_read_in_their_character_set() {
    let latin = |set: &str, name: &[u8]| {
        let mut item = object(Kind::CtImage.sop_class(), "CT");
        item.set(t::SPECIFIC_CHARACTER_SET, set);
        item.0.remove(&t::PATIENT_NAME);
        let bytes = data_set(&item, IMPLICIT);
        // Patient's Name goes where (0010,0020) begins.
        let at = bytes.windows(4).position(|w| w == [0x10, 0, 0x20, 0]).unwrap();
        let name = [name, if name.len() % 2 == 1 { &b" "[..] } else { b"" }].concat();
        let length = u32::try_from(name.len()).unwrap().to_le_bytes();
        let whole = [&bytes[..at], &[0x10, 0, 0x10, 0], &length, &name, &bytes[at..]].concat();
        Instance::parse_data_set(&whole, uids::IMPLICIT_VR_LITTLE_ENDIAN).map(|i| i.patient_name)
    };
    assert_eq!(latin("ISO_IR 100", b"M\xFCller^A"), Ok(Some("Müller^A".into())));
    assert_eq!(latin("ISO_IR 192", "தமிழ் ".as_bytes()).ok().flatten().as_deref(), Some("தமிழ்"));
    assert_eq!(latin("ISO_IR 148", b"\xDEahin^\xDDzzet"), Ok(Some("Şahin^İzzet".into())));
    assert_eq!(latin("ISO_IR 203", b"\xBDuvre^\xE9"), Ok(Some("œuvre^é".into())));
    // A name that can't be read is none: it must not be guessed, and nothing depends on it.
    assert_eq!(latin("ISO_IR 192", b"M\xFCller^A"), Ok(None));
    assert_eq!(latin("", b"M\xFCller^A"), Ok(None));
    assert!(latin("ISO_IR 999", b"Miller^A").is_err());
    // Code extensions: a text without an escape is in the first set, one with an escape isn't read.
    assert_eq!(latin("ISO_IR 100\\ISO 2022 IR 87", b"M\xFCller^A"), Ok(Some("Müller^A".into())));
    assert_eq!(latin("ISO 2022 IR 6\\ISO 2022 IR 87", b"A^\x1b$B;3"), Ok(None));
    assert_eq!(latin("\\ISO 2022 IR 149", b"Hong^G=\x1b$)C\xFB\xF3"), Ok(None));
    assert_eq!(latin("\\ISO 2022 IR 58", b"Zhang^X=\x1b$)A\xD5\xC5"), Ok(None));
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    let without = |tag| {
        let mut item = object(Kind::RtDose.sop_class(), "RTDOSE");
        item.0.remove(&tag);
        Instance::parse_data_set(&data_set(&item, IMPLICIT), uids::IMPLICIT_VR_LITTLE_ENDIAN)
    };
    for tag in [t::SOP_CLASS_UID, t::SOP_INSTANCE_UID, t::STUDY_INSTANCE_UID, t::SERIES_INSTANCE_UID] {
        assert!(matches!(without(tag), Err(ObjectError::Missing { .. })));
    }
    assert_eq!(without(t::PATIENT_ID).unwrap().patient_id, None);
    let with = |tag, text: &str| {
        let item = object(Kind::RtDose.sop_class(), "RTDOSE").with(tag, text);
        Instance::parse_data_set(&data_set(&item, IMPLICIT), uids::IMPLICIT_VR_LITTLE_ENDIAN)
    };
    assert!(matches!(with(t::PATIENT_BIRTH_DATE, "1961.02.03"), Err(ObjectError::Value { .. })));
    assert!(matches!(with(t::STUDY_INSTANCE_UID, "1..2"), Err(ObjectError::Value { .. })));
    assert!(matches!(with(t::STUDY_INSTANCE_UID, &"1.2".repeat(40)), Err(ObjectError::Value { .. })));
    let error = with(t::PATIENT_BIRTH_DATE, "Ammini").unwrap_err();
    assert!(!error.to_string().contains("Ammini"));
}

#[test]
fn encapsulated_pixels_are_stepped_over() {
    let mut bytes = data_set(&object(Kind::CtImage.sop_class(), "CT"), EXPLICIT);
    bytes.extend([0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0]);
    bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 4, 0, 0, 0, 1, 2, 3, 4]);
    let open = bytes.clone();
    bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    let jpeg = "1.2.840.10008.1.2.4.70";
    assert_eq!(Instance::parse_data_set(&bytes, jpeg).unwrap().kind, Kind::CtImage);
    assert!(matches!(Instance::parse_data_set(&open, jpeg), Err(ObjectError::Scan(ScanError::Truncated { .. }))));
}

#[test]
fn the_meta_group_must_name_the_class_that_is_inside() {
    let plan = crate::build::photons();
    let bytes = file(&plan, EXPLICIT);
    let at = bytes.windows(29).position(|w| w == b"1.2.840.10008.5.1.4.1.1.481.5").unwrap();
    let mut forged = bytes.clone();
    forged[at + 28] = b'2';
    assert!(matches!(Instance::parse(&forged), Err(ObjectError::Disagree { .. })));
    let mut item = Item::new();
    item.0.insert(t::SOP_CLASS_UID, V::Sequence(vec![]));
    assert!(Instance::parse_data_set(&data_set(&item, EXPLICIT), uids::EXPLICIT_VR_LITTLE_ENDIAN).is_err());
}
