//! Command sets (PS3.7 section 6.3.1, annex E): group 0000, implicit VR little endian, elements in rising order.
//!
//! Read by hand: a command is a flat list of at most 4 KiB, and a general parser would follow a sequence hidden in it.

use dicom_core::Tag;

use super::Outcome;

/// A C-STORE-RQ is under 300 bytes; retired elements make old peers' commands longer.
pub(super) const COMMAND_BYTES_MAX: usize = 4096;
/// Values of VR UI and LO (PS3.5 table 6.2-1).
const UID_CHARS_MAX: usize = 64;
const COMMENT_CHARS_MAX: usize = 64;

const GROUP_LENGTH: u16 = 0x0000;
const AFFECTED_SOP_CLASS: u16 = 0x0002;
const REQUESTED_SOP_CLASS: u16 = 0x0003;
const COMMAND_FIELD: u16 = 0x0100;
const MESSAGE_ID: u16 = 0x0110;
const MESSAGE_ID_RESPONDED_TO: u16 = 0x0120;
const DATA_SET_TYPE: u16 = 0x0800;
const STATUS: u16 = 0x0900;
const ERROR_COMMENT: u16 = 0x0902;
const AFFECTED_SOP_INSTANCE: u16 = 0x1000;
const REQUESTED_SOP_INSTANCE: u16 = 0x1001;
const EVENT_TYPE: u16 = 0x1002;
const ATTRIBUTES: u16 = 0x1005;
const ACTION_TYPE: u16 = 0x1008;

/// Command Data Set Type: there is none.
const NO_DATA_SET: u16 = 0x0101;
const DATA_SET: u16 = 0x0001;

pub(super) const C_STORE_RQ: u16 = 0x0001;
pub(super) const C_ECHO_RQ: u16 = 0x0030;
pub(super) const C_CANCEL_RQ: u16 = 0x0FFF;
pub(super) const N_EVENT_REPORT_RQ: u16 = 0x0100;
pub(super) const N_GET_RQ: u16 = 0x0110;
pub(super) const N_ACTION_RQ: u16 = 0x0130;
pub(super) const N_CREATE_RQ: u16 = 0x0140;
pub(super) const RESPONSE: u16 = 0x8000;

/// A command set that can't be acted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("a command of more than {COMMAND_BYTES_MAX} bytes")]
    TooLong,
    #[error("a command that ends within an element, at byte {at}")]
    Truncated { at: usize },
    #[error("element ({group:04x},{element:04x}) in a command, at byte {at}, out of order or of another group")]
    OutOfOrder { group: u16, element: u16, at: usize },
    #[error("a command of {found} bytes says that it has {said}")]
    GroupLength { said: u32, found: usize },
    #[error("element (0000,{element:04x}) of a command is missing")]
    Missing { element: u16 },
    #[error("element (0000,{element:04x}) of a command has a value of {found} bytes, or none that it may have")]
    Value { element: u16, found: usize },
    #[error("a response ({field:#06x}) to a request that nobody made")]
    Response { field: u16 },
}

/// A request, as far as this server needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) field: u16,
    pub(super) message_id: u16,
    /// Affected or requested (N-GET, N-ACTION).
    pub(super) sop_class: Option<String>,
    /// As sent; whether it is a UID is asked where one is needed.
    pub(super) sop_instance: Option<Vec<u8>>,
    /// Of an N-ACTION.
    pub(super) action: Option<u16>,
    /// Of an N-GET: those that are asked for; none says all.
    pub(super) attributes: Vec<Tag>,
    pub(super) has_data_set: bool,
}

impl Request {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(CommandError::TooLong);
        }
        let (mut field, mut message_id, mut data_set_type) = (None, None, None);
        let (mut sop_class, mut sop_instance) = (None, None);
        let (mut action, mut attributes) = (None, Vec::new());
        let (mut rest, mut last) = (bytes, None);
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let (element, value) = next(&mut rest, &mut last, at)?;
            let number = || Some(u16::from_le_bytes(value.try_into().ok()?));
            let short = || number().ok_or(CommandError::Value { element, found: value.len() });
            match element {
                GROUP_LENGTH => {
                    let said: [u8; 4] =
                        value.try_into().map_err(|_| CommandError::Value { element, found: value.len() })?;
                    let said = u32::from_le_bytes(said);
                    if usize::try_from(said) != Ok(rest.len()) {
                        return Err(CommandError::GroupLength { said, found: rest.len() });
                    }
                }
                COMMAND_FIELD => field = Some(short()?),
                MESSAGE_ID => message_id = Some(short()?),
                DATA_SET_TYPE => data_set_type = Some(short()?),
                AFFECTED_SOP_CLASS | REQUESTED_SOP_CLASS => {
                    sop_class = Some(uid(value).ok_or(CommandError::Value { element, found: value.len() })?);
                }
                AFFECTED_SOP_INSTANCE | REQUESTED_SOP_INSTANCE => sop_instance = Some(value.to_vec()),
                ACTION_TYPE => action = Some(short()?),
                ATTRIBUTES => {
                    let (tags, []) = value.as_chunks::<4>() else {
                        return Err(CommandError::Value { element, found: value.len() });
                    };
                    let tag = |[g0, g1, e0, e1]: &[u8; 4]| {
                        Tag(u16::from_le_bytes([*g0, *g1]), u16::from_le_bytes([*e0, *e1]))
                    };
                    attributes = tags.iter().map(tag).collect();
                }
                // Priority, originators, retired elements: nothing here depends on them.
                _ => {}
            }
        }
        let missing = |element| CommandError::Missing { element };
        let field = field.ok_or(missing(COMMAND_FIELD))?;
        if field & RESPONSE != 0 {
            return Err(CommandError::Response { field });
        }
        Ok(Self {
            field,
            // A C-CANCEL-RQ names the request that it cancels, and has no id of its own.
            message_id: message_id.or((field == C_CANCEL_RQ).then_some(0)).ok_or(missing(MESSAGE_ID))?,
            sop_class,
            sop_instance,
            action,
            attributes,
            has_data_set: data_set_type.ok_or(missing(DATA_SET_TYPE))? != NO_DATA_SET,
        })
    }

    /// The response to this request, whole: it fits into any peer's smallest PDU but for the fragmenting.
    pub(super) fn response(&self, outcome: &Outcome, has_data_set: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        if let Some(sop_class) = &self.sop_class {
            put(&mut out, AFFECTED_SOP_CLASS, sop_class.as_bytes(), 0);
        }
        put(&mut out, COMMAND_FIELD, &(self.field | RESPONSE).to_le_bytes(), 0);
        put(&mut out, MESSAGE_ID_RESPONDED_TO, &self.message_id.to_le_bytes(), 0);
        let data_set_type = if has_data_set { DATA_SET } else { NO_DATA_SET };
        put(&mut out, DATA_SET_TYPE, &data_set_type.to_le_bytes(), 0);
        put(&mut out, STATUS, &outcome.status.to_le_bytes(), 0);
        if let Some(comment) = outcome.comment.as_deref().map(comment).filter(|c| !c.is_empty()) {
            put(&mut out, ERROR_COMMENT, comment.as_bytes(), b' ');
        }
        if let Some(sop_instance) = self.sop_instance.as_deref().and_then(uid) {
            put(&mut out, AFFECTED_SOP_INSTANCE, sop_instance.as_bytes(), 0);
        }
        if let Some(action) = self.action {
            put(&mut out, ACTION_TYPE, &action.to_le_bytes(), 0);
        }
        with_length(&out)
    }
}

/// N-EVENT-REPORT-RQ (PS3.7 table 10.3-1), whose information follows.
pub(super) fn event_report(message_id: u16, sop_class: &str, sop_instance: &str, event: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put(&mut out, AFFECTED_SOP_CLASS, sop_class.as_bytes(), 0);
    put(&mut out, COMMAND_FIELD, &N_EVENT_REPORT_RQ.to_le_bytes(), 0);
    put(&mut out, MESSAGE_ID, &message_id.to_le_bytes(), 0);
    put(&mut out, DATA_SET_TYPE, &DATA_SET.to_le_bytes(), 0);
    put(&mut out, AFFECTED_SOP_INSTANCE, sop_instance.as_bytes(), 0);
    put(&mut out, EVENT_TYPE, &event.to_le_bytes(), 0);
    with_length(&out)
}

/// The status of a response to a request of ours.
pub(super) fn status_of(bytes: &[u8]) -> Result<u16, CommandError> {
    let (mut rest, mut last, mut status) = (bytes, None, None);
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let (element, value) = next(&mut rest, &mut last, at)?;
        if element == STATUS {
            let value = value.try_into().map_err(|_| CommandError::Value { element, found: value.len() })?;
            status = Some(u16::from_le_bytes(value));
        }
    }
    status.ok_or(CommandError::Missing { element: STATUS })
}

/// With the group's length before it.
fn with_length(out: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(out.len() + 12);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    put(&mut whole, GROUP_LENGTH, &length.to_le_bytes(), 0);
    whole.extend(out);
    whole
}

/// Takes one element off `rest`, which begins at byte `at` of the command.
fn next<'b>(rest: &mut &'b [u8], last: &mut Option<u16>, at: usize) -> Result<(u16, &'b [u8]), CommandError> {
    let truncated = CommandError::Truncated { at };
    let Some((&[g0, g1, e0, e1, l0, l1, l2, l3], after)) = rest.split_first_chunk() else { return Err(truncated) };
    let (group, element) = (u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]));
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    // The group length comes first (PS3.7 E.1), and everything else after what is smaller.
    if group != 0 || last.map_or(element != GROUP_LENGTH, |last| element <= last) {
        return Err(CommandError::OutOfOrder { group, element, at });
    }
    let length = usize::try_from(length).map_err(|_| truncated.clone())?;
    let (value, after) = after.split_at_checked(length).ok_or(truncated)?;
    (*rest, *last) = (after, Some(element));
    Ok((element, value))
}

fn put(out: &mut Vec<u8>, element: u16, value: &[u8], padding: u8) {
    let odd = value.len() % 2;
    // Every value here is bounded far below 4 GiB.
    let length = u32::try_from(value.len() + odd).unwrap_or(0);
    out.extend([0, 0]);
    out.extend(element.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(value);
    out.resize(out.len() + odd, padding);
}

/// A UID: 1 to 64 digits and dots, padded by NUL; by a space from some.
pub(super) fn uid(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches(['\0', ' ']);
    let good = (1..=UID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    good.then(|| text.to_owned())
}

/// What VR LO carries in the default repertoire: no control character, no backslash, 64 characters.
fn comment(text: &str) -> String {
    let kept = text.chars().filter(|c| (' '..='~').contains(c) && *c != '\\');
    kept.take(COMMENT_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn command(elements: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (element, value) in elements {
            put(&mut body, *element, value, 0);
        }
        let mut whole = Vec::new();
        put(&mut whole, GROUP_LENGTH, &u32::try_from(body.len()).unwrap().to_le_bytes(), 0);
        whole.extend(body);
        whole
    }

    fn c_store() -> Vec<u8> {
        command(&[
            (AFFECTED_SOP_CLASS, b"1.2.840.10008.5.1.4.1.1.2"),
            (COMMAND_FIELD, &[1, 0]),
            (MESSAGE_ID, &[7, 1]),
            (0x0700, &[0, 0]),
            (DATA_SET_TYPE, &[1, 0]),
            (AFFECTED_SOP_INSTANCE, b"1.2.3"),
        ])
    }

    #[test]
    fn a_request_is_read_and_answered() {
        let request = Request::parse(&c_store()).unwrap();
        assert_eq!((request.field, request.message_id, request.has_data_set), (C_STORE_RQ, 0x0107, true));
        assert_eq!(request.sop_class.as_deref(), Some("1.2.840.10008.5.1.4.1.1.2"));
        assert_eq!(request.sop_instance.as_deref().and_then(uid).as_deref(), Some("1.2.3"));

        let long = format!("no\\\n{}é{}", "x".repeat(60), "y".repeat(60));
        let response = request.response(&Outcome::refused(0xA900, long), false);
        // Read as dicom-object reads it: an independent implementation of the same encoding.
        let syntax = dicom_transfer_syntax_registry::entries::IMPLICIT_VR_LITTLE_ENDIAN.erased();
        let read = dicom_object::InMemDicomObject::read_dataset_with_ts(&response[..], &syntax).unwrap();
        let number = |element| read.element(dicom_core::Tag(0, element)).unwrap().to_int::<u32>().unwrap();
        let text = |element| read.element(dicom_core::Tag(0, element)).unwrap().to_str().unwrap().into_owned();
        assert_eq!(number(GROUP_LENGTH) as usize, response.len() - 12);
        assert_eq!((number(COMMAND_FIELD), number(MESSAGE_ID_RESPONDED_TO)), (0x8001, 0x0107));
        assert_eq!((number(STATUS), number(DATA_SET_TYPE)), (0xA900, 0x0101));
        assert_eq!(text(AFFECTED_SOP_INSTANCE), "1.2.3");
        assert_eq!(text(ERROR_COMMENT), format!("no{}yy", "x".repeat(60)));
    }

    #[test]
    fn what_lies_about_itself_is_refused() {
        let good = c_store();
        for cut in 0..good.len() {
            assert!(Request::parse(&good[..cut]).is_err(), "{cut}");
        }
        assert_eq!(Request::parse(&vec![0; COMMAND_BYTES_MAX + 1]), Err(CommandError::TooLong));
        assert!(matches!(Request::parse(&good.repeat(2)), Err(CommandError::GroupLength { .. })));
        let twice = command(&[(COMMAND_FIELD, &[1, 0]), (COMMAND_FIELD, &[1, 0])]);
        assert!(matches!(Request::parse(&twice), Err(CommandError::OutOfOrder { element: COMMAND_FIELD, .. })));
        let response = command(&[(COMMAND_FIELD, &[1, 0x80]), (MESSAGE_ID, &[1, 0]), (DATA_SET_TYPE, &[1, 1])]);
        assert_eq!(Request::parse(&response), Err(CommandError::Response { field: 0x8001 }));
        let wide = command(&[(COMMAND_FIELD, &[1, 0, 0, 0])]);
        assert!(matches!(Request::parse(&wide), Err(CommandError::Value { element: COMMAND_FIELD, found: 4 })));
        let mut patient = good;
        patient[0] = 0x10;
        assert!(matches!(Request::parse(&patient), Err(CommandError::OutOfOrder { group: 0x10, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            // Random bytes, and random bytes behind a proper beginning: neither panics.
            let _ = Request::parse(&bytes);
            let mut whole = Vec::new();
            put(&mut whole, GROUP_LENGTH, &u32::try_from(bytes.len()).unwrap().to_le_bytes(), 0);
            whole.extend(bytes);
            let _ = Request::parse(&whole);
        }

        #[test]
        fn a_damaged_request_is_an_error_or_another_request(at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = c_store();
            *at.get_mut(&mut bytes) ^= flip;
            let _ = Request::parse(&bytes);
        }
    }
}
