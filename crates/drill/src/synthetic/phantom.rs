//! A plain body round a target: ellipses of water with an organ or two where the site has them.
//!
//! DICOM's patient coordinates in mm: x to the patient's left, y to the back, z to the head. Nothing here is anybody's anatomy.
//!
//! **CT numbers** are round figures inside the usual ranges: air −1000 and water 0 by definition; lung −750 (−950 to −550), soft
//! tissue 40, breast −50 (between fat and gland), trabecular bone 300, skull 850. **Names** are those of AAPM Task Group 263
//! (2018); BODY is what planning systems call the outline.

use super::person::{Diagnosis, Side};
use super::rng::Rng;

/// What part of a body is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Site {
    #[default]
    Breast,
    Prostate,
    Lung,
    Cervix,
    Oesophagus,
    Tongue,
    Nasopharynx,
    Face,
    FrontalLobe,
    Rectum,
    Anus,
}

/// In one transverse plane: centre and half-axes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ellipse {
    pub(super) centre_mm: [f64; 2],
    pub(super) half_mm: [f64; 2],
}

/// An ellipsoid, or an elliptic tube that ends flat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Solid {
    pub(super) centre_mm: [f64; 3],
    pub(super) half_mm: [f64; 3],
    tube: bool,
}

impl Solid {
    /// Cut across at `z_mm`.
    pub(super) fn at(&self, z_mm: f64) -> Option<Ellipse> {
        let ([x, y, z], [a, b, c]) = (self.centre_mm, self.half_mm);
        let along = (z_mm - z) / c;
        let share = if self.tube { 1.0 } else { (1.0 - along * along).max(0.0).sqrt() };
        // A sliver is nothing that anybody draws.
        let is_there = along.abs() < 1.0 && share > 0.2;
        is_there.then_some(Ellipse { centre_mm: [x, y], half_mm: [a * share, b * share] })
    }

    /// Its shadow on the plane through the isocentre, for a beam from `gantry_degrees`: half-axes across the patient and along her.
    pub(super) fn outline(&self, gantry_degrees: f64, margin_mm: f64) -> Outline {
        let (sin, cos) = gantry_degrees.to_radians().sin_cos();
        let [a, b, c] = self.half_mm;
        Outline { across_mm: (a * cos).hypot(b * sin) + margin_mm, along_mm: c + margin_mm }
    }

    /// Half of how thick it is along that beam.
    pub(super) fn depth_half_mm(&self, gantry_degrees: f64) -> f64 {
        let (sin, cos) = gantry_degrees.to_radians().sin_cos();
        let [a, b, _] = self.half_mm;
        1.0 / (sin / a).hypot(cos / b)
    }

    fn grown(self, mm: f64) -> Self {
        Self { half_mm: self.half_mm.map(|half| half + mm), ..self }
    }

    /// From the patient's middle to where she lies on the scanner, a larger or smaller one.
    fn placed(self, [x, y, z]: [f64; 3], scale: f64) -> Self {
        let ([cx, cy, cz], [a, b, c]) = (self.centre_mm, self.half_mm);
        Self { centre_mm: [cx * scale + x, cy * scale + y, cz + z], half_mm: [a * scale, b * scale, c], ..self }
    }
}

/// Half-axes of an ellipse in the beam's eye view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    pub(super) across_mm: f64,
    pub(super) along_mm: f64,
}

/// Something with a CT number; nobody draws what has no name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Organ {
    pub(super) name: &'static str,
    pub(super) hu: i16,
    pub(super) solid: Solid,
}

const fn solid(centre_mm: [f64; 3], half_mm: [f64; 3]) -> Solid {
    Solid { centre_mm, half_mm, tube: false }
}

const fn organ(name: &'static str, hu: i16, centre_mm: [f64; 3], half_mm: [f64; 3]) -> Organ {
    Organ { name, hu, solid: solid(centre_mm, half_mm) }
}

/// Longer than any scan.
const LONG_MM: f64 = 300.0;

const fn tube(name: &'static str, hu: i16, [x, y]: [f64; 2], [a, b]: [f64; 2]) -> Organ {
    Organ { name, hu, solid: Solid { centre_mm: [x, y, 0.0], half_mm: [a, b, LONG_MM], tube: true } }
}

/// A part of the body, as Body Part Examined (0018,0015) has it: half-axes of its outline, and what is in it, each over the ones
/// before.
struct Region {
    part: &'static str,
    body_mm: [f64; 2],
    organs: &'static [Organ],
}

const PELVIS: Region = Region {
    part: "PELVIS",
    body_mm: [175.0, 110.0],
    organs: &[
        tube("", 300, [0.0, 85.0], [36.0, 14.0]),
        organ("Femur_Head_L", 300, [92.0, 5.0, -20.0], [24.0, 24.0, 24.0]),
        organ("Femur_Head_R", 300, [-92.0, 5.0, -20.0], [24.0, 24.0, 24.0]),
        organ("Bladder", 10, [0.0, -38.0, 15.0], [34.0, 28.0, 30.0]),
        tube("Rectum", 20, [0.0, 50.0], [16.0, 15.0]),
    ],
};

const THORAX: Region = Region {
    part: "CHEST",
    body_mm: [170.0, 108.0],
    organs: &[
        organ("Lung_L", -750, [78.0, 0.0, 0.0], [60.0, 76.0, 140.0]),
        organ("Lung_R", -750, [-78.0, 0.0, 0.0], [60.0, 76.0, 140.0]),
        organ("Heart", 40, [25.0, -35.0, -50.0], [48.0, 42.0, 48.0]),
        tube("Esophagus", 30, [0.0, 28.0], [9.0, 8.0]),
        tube("", 300, [0.0, 66.0], [20.0, 20.0]),
        tube("SpinalCord", 30, [0.0, 70.0], [6.0, 5.0]),
    ],
};

const CHEST_WALL: Region = Region {
    part: "CHEST",
    body_mm: THORAX.body_mm,
    organs: &[
        organ("Lung_L", -750, [76.0, 8.0, 0.0], [58.0, 64.0, 140.0]),
        organ("Lung_R", -750, [-76.0, 8.0, 0.0], [58.0, 64.0, 140.0]),
        organ("Heart", 40, [22.0, -20.0, -30.0], [44.0, 40.0, 48.0]),
        tube("", 300, [0.0, 66.0], [20.0, 20.0]),
        tube("SpinalCord", 30, [0.0, 70.0], [6.0, 5.0]),
        organ("Breast_L", -50, [80.0, -62.0, 0.0], [42.0, 23.0, 55.0]),
        organ("Breast_R", -50, [-80.0, -62.0, 0.0], [42.0, 23.0, 55.0]),
    ],
};

const NECK: Region = Region {
    part: "NECK",
    body_mm: [72.0, 92.0],
    organs: &[
        tube("", 300, [0.0, 48.0], [20.0, 18.0]),
        tube("SpinalCord", 30, [0.0, 52.0], [6.0, 5.0]),
        organ("Brainstem", 35, [0.0, 32.0, 75.0], [13.0, 12.0, 30.0]),
        organ("Bone_Mandible", 850, [0.0, -66.0, -5.0], [34.0, 9.0, 14.0]),
        organ("Parotid_L", 20, [50.0, 8.0, 25.0], [12.0, 20.0, 24.0]),
        organ("Parotid_R", 20, [-50.0, 8.0, 25.0], [12.0, 20.0, 24.0]),
    ],
};

const HEAD: Region = Region {
    part: "HEAD",
    body_mm: [75.0, 95.0],
    organs: &[
        organ("", 850, [0.0, 0.0, 10.0], [70.0, 90.0, 98.0]),
        organ("Brain", 35, [0.0, 0.0, 15.0], [63.0, 82.0, 84.0]),
        organ("Brainstem", 35, [0.0, 24.0, -35.0], [13.0, 12.0, 28.0]),
        organ("OpticChiasm", 35, [0.0, -12.0, -18.0], [9.0, 6.0, 6.0]),
        organ("Eye_L", 10, [30.0, -70.0, -25.0], [12.0, 12.0, 12.0]),
        organ("Eye_R", 10, [-30.0, -70.0, -25.0], [12.0, 12.0, 12.0]),
    ],
};

/// A tumour that can be seen, on the left side or in the middle, and what is put round it.
struct Tumour {
    region: Region,
    gross: Solid,
    clinical_margin_mm: f64,
    planning_margin_mm: f64,
}

impl Site {
    fn tumour(self) -> Tumour {
        let (region, centre, half) = match self {
            Self::Breast => (CHEST_WALL, [80.0, -62.0, 0.0], [28.0, 9.0, 34.0]),
            Self::Lung => (THORAX, [80.0, -15.0, 20.0], [16.0, 16.0, 16.0]),
            Self::Oesophagus => (THORAX, [0.0, 28.0, 0.0], [14.0, 13.0, 30.0]),
            Self::Prostate => (PELVIS, [0.0, 10.0, -20.0], [16.0, 13.0, 15.0]),
            Self::Cervix => (PELVIS, [0.0, 8.0, 0.0], [25.0, 17.0, 25.0]),
            Self::Rectum => (PELVIS, [0.0, 50.0, 0.0], [18.0, 18.0, 30.0]),
            Self::Anus => (PELVIS, [0.0, 52.0, -40.0], [18.0, 18.0, 22.0]),
            Self::Tongue => (NECK, [18.0, -32.0, 5.0], [14.0, 15.0, 14.0]),
            Self::Nasopharynx => (NECK, [0.0, -8.0, 35.0], [16.0, 14.0, 16.0]),
            Self::FrontalLobe => (HEAD, [26.0, -42.0, 35.0], [14.0, 16.0, 14.0]),
            Self::Face => (NECK, skin(NECK.body_mm, FACE_GANTRY_DEGREES, FACE_DEPTH_MM), [9.0, 3.0, 10.0]),
        };
        let (clinical_margin_mm, planning_margin_mm) = if self == Self::Face { (3.0, 3.0) } else { (6.0, 5.0) };
        Tumour { region, gross: solid(centre, half), clinical_margin_mm, planning_margin_mm }
    }
}

/// From where an electron beam meets a left cheek, and how deep the middle of its target lies.
const FACE_GANTRY_DEGREES: f64 = 20.0;
const FACE_DEPTH_MM: f64 = 13.0;

/// The direction from the isocentre to the source (IEC 61217, a patient on her back, head first).
pub(super) fn to_source(gantry_degrees: f64) -> [f64; 2] {
    let (sin, cos) = gantry_degrees.to_radians().sin_cos();
    [sin, -cos]
}

/// A point so deep below the skin, on the line from the middle to the source.
fn skin([a, b]: [f64; 2], gantry_degrees: f64, depth_mm: f64) -> [f64; 3] {
    let [x, y] = to_source(gantry_degrees);
    let out = 1.0 / (x / a).hypot(y / b) - depth_mm;
    [x * out, y * out, 10.0]
}

/// One patient's body, as the scanner sees it.
#[derive(Clone, Debug)]
pub(super) struct Phantom {
    pub(super) site: Site,
    pub(super) side: Option<Side>,
    /// Body Part Examined.
    pub(super) part: &'static str,
    pub(super) body: Solid,
    pub(super) organs: Vec<Organ>,
    pub(super) gross: Solid,
    pub(super) clinical: Solid,
    /// Its middle is the isocentre.
    pub(super) planning: Solid,
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Phantom {
    pub(super) fn draw(rng: &Rng, diagnosis: &Diagnosis) -> Self {
        let (site, side) = (diagnosis.site, diagnosis.side);
        let Tumour { region, gross, clinical_margin_mm, planning_margin_mm } = site.tumour();
        let scale = rng.on_grid(0.94, 1.06, 0.01);
        let middle = [rng.on_grid(-10.0, 10.0, 1.0), rng.on_grid(-40.0, 0.0, 1.0), rng.on_grid(-300.0, 300.0, 1.0)];
        let mirror = if side == Some(Side::Right) { -1.0 } else { 1.0 };
        let [x, y, z] = gross.centre_mm;
        let mut gross = Solid { centre_mm: [x * mirror, y, z], ..gross }.placed(middle, scale);
        gross.centre_mm = gross.centre_mm.map(tenth);
        let clinical = gross.grown(clinical_margin_mm);
        let [a, b] = region.body_mm;
        let body = Solid { centre_mm: [0.0; 3], half_mm: [a, b, LONG_MM], tube: true };
        let organs = region.organs.iter().map(|one| Organ { solid: one.solid.placed(middle, scale), ..*one });
        Self {
            site,
            side,
            part: region.part,
            body: body.placed(middle, scale),
            organs: organs.collect(),
            gross,
            clinical,
            planning: clinical.grown(planning_margin_mm),
        }
    }

    pub(super) fn isocentre_mm(&self) -> [f64; 3] {
        self.planning.centre_mm
    }

    /// How much of the body is between a point and the source; none outside the body.
    pub(super) fn depth_mm(&self, [x, y]: [f64; 2], [to_x, to_y]: [f64; 2]) -> Option<f64> {
        let ([cx, cy, _], [a, b, _]) = (self.body.centre_mm, self.body.half_mm);
        let (px, py, dx, dy) = ((x - cx) / a, (y - cy) / b, to_x / a, to_y / b);
        let (square, half, rest) = (dx * dx + dy * dy, px * dx + py * dy, px * px + py * py - 1.0);
        (rest < 0.0).then(|| ((half * half - square * rest).sqrt() - half) / square)
    }

    /// Of the isocentre.
    pub(super) fn isocentre_depth_mm(&self, gantry_degrees: f64) -> f64 {
        let [x, y, _] = self.isocentre_mm();
        self.depth_mm([x, y], to_source(gantry_degrees)).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_lie_in_the_body_and_depths_are_to_its_skin() {
        let sites = [Site::Breast, Site::Prostate, Site::Lung, Site::Cervix, Site::Oesophagus, Site::Tongue];
        let more = [Site::Nasopharynx, Site::Face, Site::FrontalLobe, Site::Rectum, Site::Anus];
        for site in sites.into_iter().chain(more) {
            for (seed, side) in (0..40).zip([Side::Left, Side::Right].into_iter().cycle()) {
                let diagnosis = Diagnosis { site, side: Some(side), ..Diagnosis::default() };
                let phantom = Phantom::draw(&Rng::new(seed, "phantom", 0), &diagnosis);
                let [x, y, z] = phantom.isocentre_mm();
                let ellipse = phantom.planning.at(z).unwrap();
                for k in 0..36 {
                    let (sin, cos) = f64::from(k * 10).to_radians().sin_cos();
                    let edge = [x + ellipse.half_mm[0] * cos, y + ellipse.half_mm[1] * sin];
                    assert!(phantom.depth_mm(edge, [0.0, -1.0]).is_some(), "{site:?} {seed}: {edge:?} is in the air");
                }
                let depth = phantom.isocentre_depth_mm(0.0);
                let skin = phantom.body.centre_mm[1] - phantom.body.half_mm[1];
                assert!(depth > 0.0 && depth < y - skin + 1e-9, "{site:?}: {depth}");
                assert!(side == Side::Left || x < phantom.body.centre_mm[0] + 1.0);
            }
        }
    }

    #[test]
    fn outlines_are_those_of_an_ellipsoid() {
        let target = solid([0.0; 3], [30.0, 20.0, 40.0]);
        let from = |gantry| target.outline(gantry, 5.0).across_mm;
        assert!((from(0.0) - 35.0).abs() < 1e-9 && (from(90.0) - 25.0).abs() < 1e-9);
        assert!((target.depth_half_mm(0.0) - 20.0).abs() < 1e-9 && (target.depth_half_mm(270.0) - 30.0).abs() < 1e-9);
        assert!(target.outline(45.0, 0.0).along_mm == 40.0 && target.at(40.0).is_none());
    }
}
