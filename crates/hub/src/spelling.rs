//! Other spellings of the weights' names, and the way from them to a model's own. A model keeps the names of its reference; what
//! others call the same tensors is known here and nowhere else.

use std::collections::BTreeMap;

use cirio_nn::Weights;

/// What wrappers put before every name: `DataParallel`, and a compiled module.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Beginnings of names elsewhere, and of the same names in torchvision's models.
const SPELLINGS: [(&str, &str); 3] = [
    // timm's VGGs, whose first two linear layers are convolutions (timm/models/vgg.py).
    ("pre_logits.fc1.", "classifier.0."),
    ("pre_logits.fc2.", "classifier.3."),
    ("head.fc.", "classifier.6."),
];

/// What a wrapper put before all of the names, to be taken away; empty if there is no such thing.
pub fn wrapper<'a>(names: impl Iterator<Item = &'a str> + Clone) -> &'static str {
    let before_all = |wrapper: &&str| names.clone().all(|name| name.starts_with(wrapper));
    WRAPPERS.into_iter().find(before_all).filter(|_| names.clone().next().is_some()).unwrap_or("")
}

/// Name and shape of a tensor as a model has them.
///
/// `model` has the names and shapes of the model's weights. A name that it lacks is spelled as the model does, where that gives
/// one that it has. A tensor with the model's number of values for each output takes the model's shape but for the outputs'
/// number, which is its own: a filter of 512×7×7 becomes a row of 25088, and a head for other classes stays one.
pub fn respell(name: &str, shape: &[usize], model: &BTreeMap<String, Vec<usize>>) -> (String, Vec<usize>) {
    let respelled = |(theirs, ours): &(&str, &str)| Some(format!("{ours}{}", name.strip_prefix(theirs)?));
    let known = model.get_key_value(name).or_else(|| SPELLINGS.iter().find_map(|spelling| model.get_key_value(&respelled(spelling)?)));
    let Some((name, wanted)) = known else { return (name.to_owned(), shape.to_vec()) };
    let shape = match (shape, wanted.as_slice()) {
        ([outputs, rest @ ..], [_, wanted @ ..]) if count(rest) == count(wanted) => [&[*outputs], wanted].concat(),
        _ => shape.to_vec(),
    };
    (name.clone(), shape)
}

/// The tensors of a file in a model's spelling: without a wrapper, and each as [`respell`] tells.
///
/// # Errors
/// When two tensors get the same name.
pub fn respelled(weights: &Weights, model: &BTreeMap<String, Vec<usize>>) -> cirio_nn::Result<Weights> {
    let wrapper = wrapper(weights.shapes().keys().map(String::as_str));
    weights.respelled(|name, shape| respell(name.strip_prefix(wrapper).unwrap_or(name), shape, model))
}

fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vgg() -> BTreeMap<String, Vec<usize>> {
        let shapes: [(&str, &[usize]); 6] = [
            ("features.0.weight", &[64, 3, 3, 3]),
            ("classifier.0.weight", &[4096, 25088]),
            ("classifier.0.bias", &[4096]),
            ("classifier.3.weight", &[4096, 4096]),
            ("classifier.6.weight", &[1000, 4096]),
            ("classifier.6.bias", &[1000]),
        ];
        shapes.into_iter().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect()
    }

    #[test]
    fn timms_heads_become_torchvisions() {
        let model = vgg();
        for (name, shape, ours, new) in [
            ("features.0.weight", &[64, 3, 3, 3][..], "features.0.weight", &[64, 3, 3, 3][..]),
            ("pre_logits.fc1.weight", &[4096, 512, 7, 7], "classifier.0.weight", &[4096, 25088]),
            ("pre_logits.fc1.bias", &[4096], "classifier.0.bias", &[4096]),
            ("pre_logits.fc2.weight", &[4096, 4096, 1, 1], "classifier.3.weight", &[4096, 4096]),
            ("head.fc.weight", &[5, 4096], "classifier.6.weight", &[5, 4096]),
            ("head.fc.bias", &[5], "classifier.6.bias", &[5]),
        ] {
            assert_eq!(respell(name, shape, &model), (ours.to_owned(), new.to_vec()), "{name}");
        }
    }

    #[test]
    fn what_the_model_does_not_know_stays_as_it_is() {
        let model = vgg();
        for (name, shape) in
            [("head.fc.scale", &[5][..]), ("other.weight", &[2, 3]), ("classifier.0.weight", &[4096, 9216]), ("features.0.weight", &[])]
        {
            assert_eq!(respell(name, shape, &model), (name.to_owned(), shape.to_vec()), "{name}");
        }
        assert_eq!(respell("head.fc.weight", &[5, 4096], &BTreeMap::new()).0, "head.fc.weight");
    }

    #[test]
    fn a_wrapper_is_before_all_names_or_none() {
        assert_eq!(wrapper(["module.a", "module.b"].into_iter()), "module.");
        assert_eq!(wrapper(["_orig_mod.a"].into_iter()), "_orig_mod.");
        assert_eq!(wrapper(["module.a", "b"].into_iter()), "");
        assert_eq!(wrapper([].into_iter()), "");
    }
}
