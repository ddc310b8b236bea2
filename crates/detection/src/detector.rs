//! A detector in two stages: where there may be objects, then what they are (Ren, He, Girshick & Sun, "Faster R-CNN", 2015), and which pixels
//! and points are theirs (He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017).

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use cirio_nn::{DropoutState, Parameter, Weights};
use rand_chacha::ChaCha8Rng;

use crate::part::join;
use crate::trace::View;
use crate::{
    Backbone, Batch, Body, BoxBranch, Detection, Error, FpnConfig, KeypointBranch, KeypointConfig, Losses, MaskBranch, MaskConfig, Mode,
    Result, RoiConfig, Rpn, RpnConfig, Target, Trace, Transform, backbone, boxes, names, regions,
};

/// What a detector is made of.
#[derive(Clone, Debug)]
pub struct DetectorConfig {
    /// From pictures to a batch.
    pub transform: Transform,
    /// The network below the pyramid, or below the heads.
    pub body: Body,
    /// The pyramid; none where the heads look at the body's taps themselves.
    pub pyramid: Option<FpnConfig>,
    /// The region proposal network.
    pub rpn: RpnConfig,
    /// Classes and boxes.
    pub roi: RoiConfig,
    /// Masks; none for a detector without.
    pub mask: Option<MaskConfig>,
    /// Key points; none for a detector without.
    pub keypoints: Option<KeypointConfig>,
}

impl DetectorConfig {
    /// The detector with the weights that a `VarBuilder` gives.
    ///
    /// # Errors
    /// When sizes do not fit together, or a weight is missing or has another shape.
    pub fn build(&self, weights: VarBuilder) -> Result<Detector> {
        let (pyramid, heads) = (self.pyramid.as_ref(), weights.pp("roi_heads"));
        let (levels, channels) = backbone::levels(&self.body, pyramid)?;
        if self.rpn.anchors.len() != levels {
            return Err(Error::Config(format!("{} levels have anchors, the backbone has {levels}", self.rpn.anchors.len())));
        }
        Ok(Detector {
            transform: self.transform.clone(),
            backbone: Backbone::new(&self.body, pyramid, weights.pp("backbone"))?,
            rpn: Rpn::new(channels, &self.rpn, weights.pp("rpn"))?,
            boxes: BoxBranch::new(channels, &self.roi, heads.clone())?,
            mask: self.mask.as_ref().map(|config| MaskBranch::new(channels, config, heads.clone())).transpose()?,
            keypoints: self.keypoints.as_ref().map(|config| KeypointBranch::new(channels, config, heads)).transpose()?,
        })
    }

    /// The detector with all weights of a file, in f32, in torchvision's spelling of today or that of before 2022. What a detector has no
    /// use for, the weights of masks or of key points, is left.
    ///
    /// # Errors
    /// When a weight is missing, unused or of another shape: all of them in one report.
    pub fn load(&self, weights: &Weights, device: &Device) -> Result<Detector> {
        let (detector, mut report) = spelt_today(weights)?.build(device, |weights| self.build(weights))?;
        report.unused.retain(|name| self.misses(name));
        report.complete()?;
        Ok(detector)
    }

    /// Whether a weight of a file that this detector has no use for is to be told: others' masks and key points, and the counters of norms,
    /// are left without a word.
    pub fn misses(&self, unused: &str) -> bool {
        let needless = unused.ends_with("num_batches_tracked")
            || (self.mask.is_none() && unused.starts_with("roi_heads.mask_"))
            || (self.keypoints.is_none() && unused.starts_with("roi_heads.keypoint_"));
        !needless
    }
}

/// The weights of a file of torchvision's in its spelling of today; files of before 2022, which the published ones are, have another.
///
/// # Errors
/// When two weights get the same name.
pub fn spelt_today(weights: &Weights) -> Result<Weights> {
    Ok(weights.respelled(|name, shape| (names::today(name), shape.to_vec()))?)
}

/// A detector with its weights. Those are named as torchvision's: `backbone.…`, `rpn.…`, `roi_heads.…`.
///
/// Its stages can be called one by one: [`batch`](Self::batch), [`Backbone::forward`], [`Rpn::forward`] and [`proposals`](Rpn::proposals),
/// [`BoxBranch::features`], [`predict`](BoxBranch::predict) and [`detections`](BoxBranch::detections), [`MaskBranch::add`],
/// [`BoxBranch::rank_by_masks`] where [`MaskBranch::in_score`] holds, [`KeypointBranch::add`].
pub struct Detector {
    transform: Transform,
    backbone: Backbone,
    rpn: Rpn,
    boxes: BoxBranch,
    mask: Option<MaskBranch>,
    keypoints: Option<KeypointBranch>,
}

impl Detector {
    /// The objects in each picture, from the highest score on, in pixels of the pictures; there may be none.
    ///
    /// # Shapes
    /// pictures (3, H, W) of any sizes, red, green and blue with values in 0 … 1, not normalised. Each answer depends a little on the other
    /// pictures of the batch, which are filled up to one size.
    ///
    /// # Errors
    /// When there is no picture, or one has another shape.
    pub fn detect(&self, pictures: &[Tensor]) -> Result<Vec<Vec<Detection>>> {
        let view = self.look(pictures)?;
        self.found(&view, None)
    }

    /// The same for one picture (3, H, W), with what every stage saw on the way.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    pub fn trace(&self, picture: &Tensor) -> Result<Trace> {
        let view = self.look(std::slice::from_ref(picture))?;
        let found = self.found(&view, None)?;
        view.trace(found)
    }

    /// The objects that the pictures and their mirror images show together: what may be an object in one view or the other is one list, of
    /// which the best stay, and a mask is the mean of what both views say. It takes twice the time of [`detect`](Self::detect), and finds and
    /// names a little better.
    ///
    /// Key points are looked for in the pictures as they are. [`Detection::proposal`] counts those of the mirror image behind the picture's.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    pub fn detect_mirrored_too(&self, pictures: &[Tensor]) -> Result<Vec<Vec<Detection>>> {
        let mut view = self.look(pictures)?;
        let mirrored = pictures.iter().map(|picture| picture.flip(&[2])).collect::<candle_core::Result<Vec<_>>>()?;
        let mut mirrored = self.look(&mirrored)?;
        let theirs = std::mem::take(&mut mirrored.candidates);
        let images = view.candidates.iter_mut().zip(theirs).zip(view.proposals.iter().zip(&view.batch.sizes));
        images.for_each(|((ours, theirs), (proposals, size))| ours.add_mirrored(theirs, size[1], proposals.len()));
        self.found(&view, Some(&mirrored))
    }

    /// The stages up to what may be an object.
    fn look(&self, pictures: &[Tensor]) -> Result<View> {
        let batch = self.batch(pictures)?;
        let levels = self.backbone.forward(&batch.images, Mode::Evaluation)?;
        let said = self.rpn.forward(&levels, Mode::Evaluation)?;
        let proposals = self.rpn.proposals(&said, &batch, Mode::Evaluation)?;
        let (seen, regions) = (self.backbone.for_regions(&levels), regions(&proposals));
        let predictions = self.boxes.predict(&self.boxes.features(seen, &batch, &regions)?, Mode::Evaluation)?;
        let candidates = self.boxes.candidates(&predictions, &regions, &batch)?;
        Ok(View { batch, levels, said, proposals, candidates })
    }

    /// The objects among a view's candidates, in pixels of the pictures; masks are the mean of both views where there is a mirrored one.
    fn found(&self, view: &View, mirrored: Option<&View>) -> Result<Vec<Vec<Detection>>> {
        let View { batch, levels, candidates, .. } = view;
        let seen = self.backbone.for_regions(levels);
        let mut found: Vec<Vec<Detection>> = candidates.iter().map(|candidates| self.boxes.best(candidates)).collect();
        match (&self.mask, mirrored) {
            (Some(mask), None) => mask.add(seen, batch, &mut found)?,
            (Some(mask), Some(mirrored)) => {
                let other = (self.backbone.for_regions(&mirrored.levels), &mirrored.batch);
                mask.add_of_both([(seen, batch), other], &mut found)?;
            }
            (None, _) => {}
        }
        if self.mask.as_ref().is_some_and(MaskBranch::in_score) {
            found.iter_mut().for_each(|found| self.boxes.rank_by_masks(found));
        }
        if let Some(keypoints) = &self.keypoints {
            keypoints.add(seen, batch, &mut found)?;
        }
        for (found, (&size, &original)) in found.iter_mut().zip(batch.sizes.iter().zip(&batch.originals)) {
            found.iter_mut().for_each(|detection| detection.bounds = boxes::resize(detection.bounds, size, original));
        }
        Ok(found)
    }

    /// The losses of a step of training: `loss_classifier`, `loss_box_reg`, `loss_objectness`, `loss_rpn_box_reg`, with masks
    /// `loss_mask` and with key points `loss_keypoint`. The generator chooses sizes of pictures, anchors and proposals; dropout has its own, see
    /// [`dropout_state`](Self::dropout_state).
    ///
    /// Norms take the batch's statistics unless they are frozen. Batches of a few pictures are too small for that: freeze them.
    ///
    /// # Shapes
    /// pictures as for [`detect`](Self::detect), and a target for each.
    ///
    /// # Errors
    /// When a picture or a target is wrong: it is named; when the detector is in its form for evaluation.
    pub fn losses(&self, pictures: &[Tensor], targets: &[Target], rng: &mut ChaCha8Rng) -> Result<Losses> {
        let batch = self.transform.batch(pictures, Some(rng))?;
        self.losses_of(&batch, targets, Mode::Training, rng)
    }

    /// The same losses for pictures that are not learnt from: norms use what they have stored, and pictures get the size that they have in
    /// evaluation.
    ///
    /// # Errors
    /// As [`losses`](Self::losses), but for the form: either will do.
    pub fn validation_losses(&self, pictures: &[Tensor], targets: &[Target], rng: &mut ChaCha8Rng) -> Result<Losses> {
        self.losses_of(&self.batch(pictures)?, targets, Mode::Evaluation, rng)
    }

    fn losses_of(&self, batch: &Batch, targets: &[Target], mode: Mode, rng: &mut ChaCha8Rng) -> Result<Losses> {
        let targets = self.transform.targets(targets, batch, self.boxes.classes())?;
        let levels = self.backbone.forward(&batch.images, mode)?;
        let said = self.rpn.forward(&levels, mode)?;
        let proposals = self.rpn.losses(&said, batch, &targets, rng)?;
        let sampled = self.boxes.sample(&self.rpn.proposals(&said, batch, Mode::Training)?, &targets, rng);
        let levels = self.backbone.for_regions(&levels);
        let predictions = self.boxes.predict(&self.boxes.features(levels, batch, &sampled.regions)?, mode)?;
        let mut losses = self.boxes.losses(&predictions, &sampled, &targets)?;
        losses.terms.extend(proposals.terms);
        if let Some(mask) = &self.mask {
            losses.terms.push(("loss_mask", mask.loss(levels, batch, &sampled, &targets, mode)?));
        }
        if let Some(keypoints) = &self.keypoints {
            losses.terms.push(("loss_keypoint", keypoints.loss(levels, batch, &sampled, &targets, mode)?));
        }
        Ok(losses)
    }

    /// Pictures as one batch, for evaluation.
    ///
    /// # Errors
    /// As [`detect`](Self::detect).
    pub fn batch(&self, pictures: &[Tensor]) -> Result<Batch> {
        self.transform.batch(pictures, None)
    }

    /// The body, with its pyramid if it has one.
    pub fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    /// The region proposal network.
    pub fn rpn(&self) -> &Rpn {
        &self.rpn
    }

    /// The head of classes and boxes.
    pub fn boxes(&self) -> &BoxBranch {
        &self.boxes
    }

    /// The head of masks, if there is one.
    pub fn mask(&self) -> Option<&MaskBranch> {
        self.mask.as_ref()
    }

    /// The head of key points, if there is one.
    pub fn keypoints(&self) -> Option<&KeypointBranch> {
        self.keypoints.as_ref()
    }

    /// The form for evaluation alone, which is faster: batch norms folded, ReLU fused, weights packed.
    ///
    /// # Errors
    /// When a norm's tensors cannot be read.
    pub fn for_inference(self) -> Result<Self> {
        Ok(Self {
            backbone: self.backbone.for_inference()?,
            rpn: self.rpn.for_inference()?,
            boxes: self.boxes.for_inference()?,
            mask: self.mask.map(MaskBranch::for_inference).transpose()?,
            keypoints: self.keypoints.map(KeypointBranch::for_inference).transpose()?,
            ..self
        })
    }

    /// Where the generator of dropout stands, which some box heads have.
    pub fn dropout_state(&self) -> DropoutState {
        self.boxes.head().dropout_state()
    }

    /// Sets the generator of dropout, so that training goes on as if it had not been interrupted.
    pub fn set_dropout_state(&self, state: DropoutState) {
        self.boxes.head().set_dropout_state(state);
    }

    /// All tensors with their full names; none in the form for evaluation, which has them packed.
    pub fn parameters(&self) -> Vec<Parameter> {
        let always = [self.backbone.parameters("backbone"), self.rpn.parameters("rpn"), self.boxes.parameters("roi_heads")];
        let mask = self.mask.as_ref().map(|mask| mask.parameters("roi_heads"));
        let keypoints = self.keypoints.as_ref().map(|keypoints| keypoints.parameters("roi_heads"));
        join(always.into_iter().chain(mask).chain(keypoints))
    }
}
