//! The names that torchvision's weights had before 2022, when blocks got a number for each of their layers.

/// The spelling of today of an old name; any other stays as it is.
pub(crate) fn today(name: &str) -> String {
    let leaf = |rest: &str| matches!(rest, "weight" | "bias");
    if let Some(rest) = name.strip_prefix("rpn.head.conv.").filter(|rest| leaf(rest)) {
        return format!("rpn.head.conv.0.0.{rest}");
    }
    let block = name.rsplit_once('.').filter(|(block, rest)| {
        let numbered = block.strip_prefix("backbone.fpn.").and_then(|block| block.split_once("_blocks."));
        leaf(rest) && numbered.is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    if let Some((block, rest)) = block {
        return format!("{block}.0.{rest}");
    }
    let mask = name.strip_prefix("roi_heads.mask_head.mask_fcn").and_then(|rest| rest.split_once('.'));
    match mask.and_then(|(number, rest)| Some((number.parse::<usize>().ok()?.checked_sub(1)?, rest))) {
        Some((index, rest)) => format!("roi_heads.mask_head.{index}.0.{rest}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_spellings() {
        for (expected, name) in [
            ("backbone.fpn.inner_blocks.0.0.weight", "backbone.fpn.inner_blocks.0.weight"),
            ("backbone.fpn.layer_blocks.3.0.bias", "backbone.fpn.layer_blocks.3.bias"),
            ("rpn.head.conv.0.0.bias", "rpn.head.conv.bias"),
            ("roi_heads.mask_head.3.0.weight", "roi_heads.mask_head.mask_fcn4.weight"),
            ("roi_heads.mask_head.mask_fcn0.weight", "roi_heads.mask_head.mask_fcn0.weight"),
            ("backbone.body.layer1.0.conv1.weight", "backbone.body.layer1.0.conv1.weight"),
            ("rpn.head.cls_logits.weight", "rpn.head.cls_logits.weight"),
        ] {
            assert_eq!(today(name), expected);
            assert_eq!(today(expected), expected, "names of today stay");
        }
    }
}
