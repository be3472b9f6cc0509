//! RT (Ion) Beams Treatment Records (PS3.3 A.31, A.54): what the machine says it delivered, a record a session.

use dicom_dictionary_std::{tags, uids};
use kit::Timestamp;

use super::Technique;
use super::item::Item;
use super::person::da;
use super::plan::{Beam, Plan, Radiation, Study, TARGET_REFERENCE, reference};
use super::rng::Rng;

/// The records of one complete fraction on `day`: one, or two where the last beam stopped and was resumed. Of the two,
/// the first covers (0, stop) and the second (stop, end); their delivered metersets add up to the specified one.
pub(super) fn fraction(
    rng: &Rng,
    study: &Study,
    plan: &Plan,
    fraction: u32,
    day: Timestamp,
    interrupted: bool,
) -> Vec<Vec<u8>> {
    let minute = rng.below(60);
    let session = |time: String, parts: Vec<Part<'_>>| record(rng, study, plan, fraction, day, &time, &parts);
    let whole = |beam| Part { beam, from: 0.0, to: 1.0 };
    let (Some((last, before)), true) = (plan.beams.split_last(), interrupted) else {
        return vec![session(format!("10{minute:02}00"), plan.beams.iter().map(whole).collect())];
    };
    let stop = rng.on_grid(0.2, 0.8, 0.1);
    let mut first: Vec<Part<'_>> = before.iter().map(whole).collect();
    first.push(Part { beam: last, from: 0.0, to: stop });
    let second = vec![Part { beam: last, from: stop, to: 1.0 }];
    vec![session(format!("10{minute:02}00"), first), session(format!("11{minute:02}00"), second)]
}

/// A beam from one share of its meterset to another.
struct Part<'a> {
    beam: &'a Beam,
    from: f64,
    to: f64,
}

fn hundredth(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn thousandth(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl Part<'_> {
    /// Meterset at share `share` of the beam.
    fn at(&self, share: f64) -> f64 {
        thousandth(self.beam.meterset * share)
    }

    fn item(&self, plan: &Plan, fraction: u32, day: Timestamp, time: &str) -> Item {
        let beam = self.beam;
        let ion = plan.technique == Technique::Ion;
        let last_weight = beam.weights.last().copied().filter(|w| *w > 0.0).unwrap_or(1.0);
        let last = beam.weights.len().saturating_sub(1);
        let (start, end) = (self.at(self.from), self.at(self.to));
        // A photon machine reports both ends; a scanning machine reports every layer with its spots.
        let reported = beam.weights.iter().enumerate().filter(|(index, _)| ion || *index == 0 || *index == last);
        let deliveries = reported.map(|(index, weight)| {
            let specified = thousandth(beam.meterset * weight / last_weight);
            let item = Item::new()
                .text(tags::TREATMENT_CONTROL_POINT_DATE, da(day))
                .text(tags::TREATMENT_CONTROL_POINT_TIME, time)
                .ds(tags::SPECIFIED_METERSET, &[specified])
                // PS3.3 C.8.8.21: max(start, min(specified, end)).
                .ds(tags::DELIVERED_METERSET, &[specified.min(end).max(start)])
                .int(tags::REFERENCED_CONTROL_POINT_INDEX, index)
                .ds(tags::NOMINAL_BEAM_ENERGY, &[beam.energy])
                .with(|item| match beam.spots.get(index) {
                    Some((positions, weights)) => {
                        let here = specified >= start && specified < end;
                        let scale = if here { beam.meterset / last_weight } else { 0.0 };
                        #[allow(clippy::cast_possible_truncation)] // FL is what the standard gives it
                        let delivered: Vec<f32> = weights.iter().map(|w| (f64::from(*w) * scale) as f32).collect();
                        item.text(tags::SCAN_SPOT_TUNE_ID, "4.0")
                            .int(tags::NUMBER_OF_SCAN_SPOT_POSITIONS, weights.len())
                            .fl(tags::SCAN_SPOT_POSITION_MAP, positions)
                            .fl(tags::SCAN_SPOT_METERSETS_DELIVERED, &delivered)
                            .int(tags::NUMBER_OF_PAINTINGS, 1)
                    }
                    None => item.ds(tags::DOSE_RATE_SET, &[600.0]).ds(tags::DOSE_RATE_DELIVERED, &[600.0]).text(
                        tags::NOMINAL_BEAM_ENERGY_UNIT,
                        if beam.radiation == Radiation::Photon { "MV" } else { "MEV" },
                    ),
                });
            if index > 0 {
                return item;
            }
            item.ds(tags::GANTRY_ANGLE, &[beam.gantry_degrees])
                .text(tags::GANTRY_ROTATION_DIRECTION, "NONE")
                .ds(tags::BEAM_LIMITING_DEVICE_ANGLE, &[0.0])
                .text(tags::BEAM_LIMITING_DEVICE_ROTATION_DIRECTION, "NONE")
                .ds(tags::PATIENT_SUPPORT_ANGLE, &[0.0])
                .text(tags::PATIENT_SUPPORT_ROTATION_DIRECTION, "NONE")
        });
        let deliveries: Vec<Item> = deliveries.collect();
        let devices = beam.devices.iter().map(|(kind, pairs)| {
            Item::new().text(tags::RT_BEAM_LIMITING_DEVICE_TYPE, *kind).int(tags::NUMBER_OF_LEAF_JAW_PAIRS, pairs)
        });
        let devices: Vec<Item> = devices.collect();
        let wedge = Item::new()
            .int(tags::WEDGE_NUMBER, 1)
            .text(tags::WEDGE_TYPE, "STANDARD")
            .text(tags::WEDGE_ID, "W30")
            .ds(tags::WEDGE_ANGLE, &[30.0])
            .ds(tags::WEDGE_ORIENTATION, &[90.0]);
        let complete = self.to >= 1.0;
        Item::new()
            .int(tags::REFERENCED_BEAM_NUMBER, beam.number)
            .text(tags::BEAM_NAME, &beam.name)
            .text(tags::BEAM_TYPE, beam.kind)
            .text(tags::RADIATION_TYPE, beam.radiation.term())
            .text(tags::TREATMENT_DELIVERY_TYPE, "TREATMENT")
            .int(tags::CURRENT_FRACTION_NUMBER, fraction)
            .text(tags::TREATMENT_TERMINATION_STATUS, if complete { "NORMAL" } else { "MACHINE" })
            .text(tags::TREATMENT_VERIFICATION_STATUS, "VERIFIED")
            .ds(tags::SPECIFIED_PRIMARY_METERSET, &[beam.meterset])
            .ds(tags::DELIVERED_PRIMARY_METERSET, &[thousandth(end - start)])
            .int(tags::NUMBER_OF_WEDGES, beam.wedges)
            .int(tags::NUMBER_OF_COMPENSATORS, 0)
            .int(tags::NUMBER_OF_BOLI, u32::from(beam.bolus_mm.is_some()))
            .int(tags::NUMBER_OF_BLOCKS, beam.blocks)
            .int(tags::NUMBER_OF_CONTROL_POINTS, beam.weights.len())
            .with(|item| {
                if ion {
                    item.text(tags::SCAN_MODE, "MODULATED")
                        .text(tags::MODULATED_SCAN_MODE_TYPE, "STATIONARY")
                        .int(tags::NUMBER_OF_RANGE_SHIFTERS, 0)
                        .int(tags::NUMBER_OF_LATERAL_SPREADING_DEVICES, 0)
                        .int(tags::NUMBER_OF_RANGE_MODULATORS, 0)
                        .text(tags::PATIENT_SUPPORT_TYPE, "TABLE")
                        .items(tags::ION_CONTROL_POINT_DELIVERY_SEQUENCE, deliveries)
                } else {
                    item.items(tags::BEAM_LIMITING_DEVICE_LEAF_PAIRS_SEQUENCE, devices)
                        .items(tags::CONTROL_POINT_DELIVERY_SEQUENCE, deliveries)
                }
            })
            .items(
                tags::REFERENCED_CALCULATED_DOSE_REFERENCE_SEQUENCE,
                vec![
                    // To the centigray, as consoles write it; the dose of a beam grows with its meterset.
                    Item::new().int(tags::REFERENCED_DOSE_REFERENCE_NUMBER, TARGET_REFERENCE).ds(
                        tags::CALCULATED_DOSE_REFERENCE_DOSE_VALUE,
                        &[hundredth(plan.dose_of(beam) * (self.to - self.from))],
                    ),
                ],
            )
            .with(|item| match beam.wedges {
                0 => item,
                _ => item.items(tags::RECORDED_WEDGE_SEQUENCE, vec![wedge]),
            })
    }
}

fn record(
    rng: &Rng,
    study: &Study,
    plan: &Plan,
    fraction: u32,
    day: Timestamp,
    time: &str,
    parts: &[Part<'_>],
) -> Vec<u8> {
    let ion = plan.technique == Technique::Ion;
    let class = if ion { uids::RT_ION_BEAMS_TREATMENT_RECORD_STORAGE } else { uids::RT_BEAMS_TREATMENT_RECORD_STORAGE };
    let machine = Item::new()
        .text(tags::MANUFACTURER, "Synthetic Systems")
        .text(tags::INSTITUTION_NAME, "Synthetic Centre")
        .text(tags::MANUFACTURER_MODEL_NAME, "Accelerator")
        .text(tags::DEVICE_SERIAL_NUMBER, "42")
        .text(tags::TREATMENT_MACHINE_NAME, &plan.machine);
    let beams = parts.iter().map(|part| part.item(plan, fraction, day, time)).collect();
    study
        .header(class, &rng.uid(), "RTRECORD", rng.uid())
        .int(tags::INSTANCE_NUMBER, fraction)
        .text(tags::TREATMENT_DATE, da(day))
        .text(tags::TREATMENT_TIME, time)
        .items(tags::REFERENCED_RT_PLAN_SEQUENCE, vec![reference(plan.class(), &plan.uid)])
        .items(tags::TREATMENT_MACHINE_SEQUENCE, vec![machine])
        .int(tags::REFERENCED_FRACTION_GROUP_NUMBER, 1)
        .int(tags::NUMBER_OF_FRACTIONS_PLANNED, plan.fractions)
        .text(tags::PRIMARY_DOSIMETER_UNIT, "MU")
        .items(
            if ion { tags::TREATMENT_SESSION_ION_BEAM_SEQUENCE } else { tags::TREATMENT_SESSION_BEAM_SEQUENCE },
            beams,
        )
        .file()
}
