//! What can be drawn, and what it needs.

use clap::ValueEnum;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Where a layer speaks for a class (Selvaraju et al. 2017).
    GradCam,
    /// The same with weights for several objects (Chattopadhay et al. 2018).
    GradCamPp,
    /// The probability of a class as a patch slides over the picture, and the likeliest class (Zeiler & Fergus 2014).
    Occlusion,
    /// How much each pixel changes the class's score (Simonyan et al. 2014).
    Gradient,
    /// The gradient with rectifiers on the way back (Springenberg et al. 2015).
    Guided,
    /// The class's score divided among the pixels (Sundararajan et al. 2017).
    Integrated,
    /// The gradient averaged over noise (Smilkov et al. 2017).
    SmoothGrad,
    /// The activations of a layer, or of all layers on one sheet.
    Activations,
    /// The strongest activations of a layer, projected back to pixels (Zeiler & Fergus 2014).
    Deconvnet,
    /// The filters of a layer; needs no picture.
    Filters,
    /// Detectors: where the anchors, the proposals and the boxes of the objects are, and how likely an object is at each place (Ren et al. 2015).
    Proposals,
    /// What maps answer to a picture as training goes on; --weights is a run with snapshots.
    Evolution,
    /// The filters of a layer as training goes on, as an animation; --weights is a run with snapshots.
    FilterEvolution,
    /// The nine strongest activations of maps over a data set, projected back, beside the pictures' patches; needs --data.
    Strongest,
    /// The pictures of a data set in the plane of the two principal components of a layer's features; needs --data.
    Pca,
    /// The same by t-SNE, which keeps neighbours together (van der Maaten & Hinton 2008); needs --data.
    TSne,
}

impl Method {
    /// As it is written in commands and in names of files.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it draws a picture that is given.
    pub fn takes_pictures(self) -> bool {
        !matches!(self, Self::Filters | Self::FilterEvolution) && !self.takes_data()
    }

    /// Whether it is about a class of a classifier.
    pub fn takes_a_class(self) -> bool {
        use Method::*;
        matches!(self, GradCam | GradCamPp | Occlusion | Gradient | Guided | Integrated | SmoothGrad)
    }

    /// Whether it looks at one layer.
    pub fn takes_a_layer(self) -> bool {
        use Method::*;
        !matches!(self, Occlusion | Gradient | Guided | Integrated | SmoothGrad | Proposals)
    }

    /// Whether it looks at maps that can be chosen.
    pub fn takes_maps(self) -> bool {
        use Method::*;
        matches!(self, Activations | Deconvnet | Strongest | Evolution)
    }

    /// Whether it looks at a data set.
    pub fn takes_data(self) -> bool {
        matches!(self, Self::Strongest | Self::Pca | Self::TSne)
    }
}
