//! The names that torchvision's weights had before 2022, when blocks got a number for each of their layers.

/// The old spelling of a name of today.
pub(crate) fn old(name: &str) -> String {
    if let Some(leaf) = name.strip_prefix("rpn.head.conv.0.0.") {
        return format!("rpn.head.conv.{leaf}");
    }
    let pyramid = name.strip_prefix("backbone.fpn.").and_then(|rest| rest.split_once(".0."));
    if let Some((block, leaf)) = pyramid {
        return format!("backbone.fpn.{block}.{leaf}");
    }
    let mask = name.strip_prefix("roi_heads.mask_head.").and_then(|rest| rest.split_once(".0."));
    match mask.and_then(|(index, leaf)| Some((index.parse::<usize>().ok()?, leaf))) {
        Some((index, leaf)) => format!("roi_heads.mask_head.mask_fcn{}.{leaf}", index + 1),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_spellings() {
        for (name, expected) in [
            ("backbone.fpn.inner_blocks.0.0.weight", "backbone.fpn.inner_blocks.0.weight"),
            ("backbone.fpn.layer_blocks.3.0.bias", "backbone.fpn.layer_blocks.3.bias"),
            ("rpn.head.conv.0.0.bias", "rpn.head.conv.bias"),
            ("roi_heads.mask_head.3.0.weight", "roi_heads.mask_head.mask_fcn4.weight"),
            ("backbone.body.layer1.0.conv1.weight", "backbone.body.layer1.0.conv1.weight"),
            ("rpn.head.cls_logits.weight", "rpn.head.cls_logits.weight"),
        ] {
            assert_eq!(old(name), expected);
        }
    }
}
