//! Fragments to messages (PS3.7 section 6.3, PS3.8 annex E): a command, and the data set that it announces, from
//! however many presentation data values and PDUs.

use std::sync::Arc;

use dicom_ul::pdu::{PDataValue, PDataValueType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::command::{COMMAND_BYTES_MAX, CommandError, Request};
use super::error::DimseError;

/// The budget for data sets in memory is counted in these: one permit of the semaphore.
pub(super) const BUDGET_UNIT: usize = 64 * 1024;

/// What all data sets of one port may take.
pub(super) fn budget(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes.div_ceil(BUDGET_UNIT)))
}

/// A whole message.
pub(super) struct Message {
    pub(super) context: u8,
    pub(super) request: Request,
    pub(super) data_set: DataSet,
}

/// A data set as it is gathered. What goes past a bound is let go, and the rest read and dropped: the peer learns it
/// from the response, and its other objects still come through.
#[derive(Default)]
pub(super) struct DataSet {
    pub(super) bytes: Vec<u8>,
    pub(super) refused: Option<Refused>,
    /// Gives its share of the budget back when it is dropped.
    pub(super) held: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooLong,
    NoRoom,
}

enum State {
    Command { context: Option<u8>, bytes: Vec<u8> },
    DataSet { context: u8, request: Request, data_set: DataSet },
}

pub(super) struct Assembler {
    object_bytes_max: usize,
    budget: Arc<Semaphore>,
    state: State,
}

const START: State = State::Command { context: None, bytes: Vec::new() };

impl Assembler {
    pub(super) fn new(object_bytes_max: usize, budget: Arc<Semaphore>) -> Self {
        Self { object_bytes_max, budget, state: START }
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_within_message(&self) -> bool {
        !matches!(self.state, State::Command { context: None, .. })
    }

    /// Takes in one fragment; the message, where this was its last.
    pub(super) fn feed(&mut self, fragment: PDataValue) -> Result<Option<Message>, DimseError> {
        let found = fragment.presentation_context_id;
        let is_command = fragment.value_type == PDataValueType::Command;
        match std::mem::replace(&mut self.state, START) {
            State::Command { context, mut bytes } => {
                if !is_command {
                    return Err(DimseError::DataBeforeCommand);
                }
                same(context.unwrap_or(found), found)?;
                if bytes.len() + fragment.data.len() > COMMAND_BYTES_MAX {
                    return Err(CommandError::TooLong.into());
                }
                bytes.extend(fragment.data);
                if !fragment.is_last {
                    self.state = State::Command { context: Some(found), bytes };
                    return Ok(None);
                }
                let (context, request) = (found, Request::parse(&bytes)?);
                let data_set = DataSet::default();
                if !request.has_data_set {
                    return Ok(Some(Message { context, request, data_set }));
                }
                self.state = State::DataSet { context, request, data_set };
                Ok(None)
            }
            State::DataSet { context, request, mut data_set } => {
                if is_command {
                    return Err(DimseError::CommandWithinData);
                }
                same(context, found)?;
                data_set.extend(&fragment.data, self.object_bytes_max, &self.budget);
                if fragment.is_last {
                    return Ok(Some(Message { context, request, data_set }));
                }
                self.state = State::DataSet { context, request, data_set };
                Ok(None)
            }
        }
    }
}

fn same(expected: u8, found: u8) -> Result<(), DimseError> {
    if found == expected { Ok(()) } else { Err(DimseError::MixedContexts { found, expected }) }
}

impl DataSet {
    fn extend(&mut self, more: &[u8], maximum: usize, budget: &Arc<Semaphore>) {
        if self.refused.is_some() {
            return;
        }
        let length = self.bytes.len().saturating_add(more.len());
        self.refused = if length > maximum {
            Some(Refused::TooLong)
        } else if !self.hold(length.div_ceil(BUDGET_UNIT), budget) {
            Some(Refused::NoRoom)
        } else {
            None
        };
        if self.refused.is_some() {
            (self.bytes, self.held) = (Vec::new(), None);
        } else {
            self.bytes.extend_from_slice(more);
        }
    }

    fn hold(&mut self, units: usize, budget: &Arc<Semaphore>) -> bool {
        let more = units.saturating_sub(self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return true;
        }
        let Ok(count) = u32::try_from(more) else { return false };
        let Ok(permit) = Arc::clone(budget).try_acquire_many_owned(count) else { return false };
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        true
    }
}
