//! What jaws and leaves let through: the target's outline in the beam's eye view, or a part of it.

use dicom_dictionary_std::tags;

use super::super::item::Item;
use super::super::phantom::Outline;

/// How far a jaw stands outside the outermost leaf.
const JAW_MARGIN_MM: f64 = 5.0;

/// Sixty pairs: ten of 10 mm, forty of 5 mm, ten of 10 mm.
fn leaf_boundaries() -> Vec<f64> {
    let outer = (0..10).map(|k| -200.0 + 10.0 * f64::from(k));
    let inner = (0..40).map(|k| -100.0 + 5.0 * f64::from(k));
    let far = (0..=10).map(|k| 100.0 + 10.0 * f64::from(k));
    outer.chain(inner).chain(far).collect()
}

pub(super) fn device(kind: &str, distance_mm: f64, pairs: usize) -> Item {
    Item::new()
        .text(tags::RT_BEAM_LIMITING_DEVICE_TYPE, kind)
        .ds(tags::SOURCE_TO_BEAM_LIMITING_DEVICE_DISTANCE, &[distance_mm])
        .int(tags::NUMBER_OF_LEAF_JAW_PAIRS, pairs)
}

pub(super) fn photon_devices() -> Vec<Item> {
    vec![
        device("ASYMX", 450.0, 1),
        device("ASYMY", 350.0, 1),
        device("MLCX", 509.0, 60).ds(tags::LEAF_POSITION_BOUNDARIES, &leaf_boundaries()),
    ]
}

/// An ellipse as a turned collimator sees it: squares of its extents along the leaves' travel and across it, and what couples them.
pub(super) struct Aperture {
    xx: f64,
    yy: f64,
    xy: f64,
}

/// All of an aperture, from its one side to its other.
pub(super) const WHOLE: [f64; 2] = [-1.0, 1.0];

impl Aperture {
    pub(super) fn new(Outline { across_mm, along_mm }: Outline, collimator_degrees: f64) -> Self {
        let (sin, cos) = collimator_degrees.to_radians().sin_cos();
        let (across, along) = (across_mm.powi(2), along_mm.powi(2));
        Self {
            xx: across * cos * cos + along * sin * sin,
            yy: across * sin * sin + along * cos * cos,
            xy: (along - across) * sin * cos,
        }
    }

    /// Half of how wide and how long it is.
    pub(super) fn extent_mm(&self) -> [f64; 2] {
        [self.xx.sqrt(), self.yy.sqrt()]
    }

    /// Positions of both banks, of a part of it between two shares of its half width; closed outside it.
    pub(super) fn leaves(&self, [from, to]: [f64; 2]) -> Vec<f64> {
        let boundaries = leaf_boundaries();
        let [half_mm, long_mm] = self.extent_mm();
        let on_grid = |value: f64| (value * 10.0).round() / 10.0;
        let pairs = boundaries.iter().zip(boundaries.iter().skip(1)).map(|(low, high)| {
            let y = (low + high) / 2.0;
            if y.abs() >= long_mm {
                return [0.0, 0.0];
            }
            let middle = self.xy / self.yy * y;
            let half = ((self.xx - self.xy * self.xy / self.yy) * (1.0 - y * y / self.yy)).max(0.0).sqrt();
            let within = |edge: f64| on_grid(edge.clamp(from * half_mm, to * half_mm));
            [within(middle - half), within(middle + half)]
        });
        let (low, high): (Vec<f64>, Vec<f64>) = pairs.map(|[low, high]| (low, high)).unzip();
        low.into_iter().chain(high).collect()
    }
}

/// Jaws round all of these apertures, on whole millimetres.
pub(super) fn jaws<'a>(apertures: impl IntoIterator<Item = &'a Aperture>) -> Vec<(&'static str, Vec<f64>)> {
    let extents = apertures.into_iter().map(Aperture::extent_mm);
    let [x, y] = extents.fold([0.0, 0.0], |[x, y]: [f64; 2], [a, b]| [x.max(a), y.max(b)]);
    let at = |half: f64| (half + JAW_MARGIN_MM).ceil();
    vec![("ASYMX", vec![-at(x), at(x)]), ("ASYMY", vec![-at(y), at(y)])]
}
