//! Clipping of gradients (Pascanu et al. 2013).

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Var};
use serde::{Deserialize, Serialize};

/// A bound on gradients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clip {
    /// All gradients together, as one vector, are shortened to this Euclidean length if they are longer.
    Norm(f64),
    /// Each number is brought into -x … x.
    Value(f64),
}

/// Clips the gradients of `vars`.
///
/// A norm that is no finite number leaves the gradients as they are: the loss of the next step will show it.
pub fn clip<'a>(gradients: &mut GradStore, vars: impl Iterator<Item = &'a Var>, clip: Clip) -> Result<()> {
    let vars: Vec<&Var> = vars.filter(|var| gradients.get(var.as_tensor()).is_some()).collect();
    let limit = match clip {
        Clip::Value(limit) => limit,
        Clip::Norm(limit) => {
            let norm = global_norm(gradients, &vars)?;
            if !norm.is_finite() || norm <= limit {
                return Ok(());
            }
            // torch adds 1e-6 to the norm.
            return scale_gradients(gradients, vars.into_iter(), limit / (norm + 1e-6));
        }
    };
    for var in vars {
        if let Some(gradient) = gradients.get(var.as_tensor()) {
            let clipped = gradient.detach().clamp(-limit, limit)?;
            gradients.insert(var, clipped);
        }
    }
    Ok(())
}

/// The sums of the gradients of `vars`; a variable may be in one store alone.
pub(crate) fn add_gradients<'a>(mut sum: GradStore, more: &GradStore, vars: impl Iterator<Item = &'a Var>) -> Result<GradStore> {
    for var in vars {
        if let Some(gradient) = more.get(var.as_tensor()) {
            let added = match sum.get(var.as_tensor()) {
                Some(before) => (before.detach() + gradient.detach())?,
                None => gradient.clone(),
            };
            sum.insert(var, added);
        }
    }
    Ok(sum)
}

/// Multiplies the gradients of `vars`.
pub(crate) fn scale_gradients<'a>(gradients: &mut GradStore, vars: impl Iterator<Item = &'a Var>, scale: f64) -> Result<()> {
    for var in vars {
        if let Some(gradient) = gradients.get(var.as_tensor()) {
            let scaled = (gradient.detach() * scale)?;
            gradients.insert(var, scaled);
        }
    }
    Ok(())
}

/// The Euclidean length of all gradients together, added up in f64.
fn global_norm(gradients: &GradStore, vars: &[&Var]) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in vars.iter().filter_map(|var| gradients.get(var.as_tensor())) {
        sum += gradient.detach().sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    Ok(sum.sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    /// Two passes of which the second knows a variable more: ((1, 2) + (3, 4)) / 2, and 5 / 2.
    #[test]
    fn gradients_of_passes_are_averaged() -> Result<()> {
        let vars = [Var::new(&[1f32, 1.0], &Device::Cpu)?, Var::new(1f32, &Device::Cpu)?];
        let first = (vars[0].as_tensor() * &Tensor::new(&[1f32, 2.0], &Device::Cpu)?)?.sum_all()?.backward()?;
        let second = (vars[0].as_tensor() * &Tensor::new(&[3f32, 4.0], &Device::Cpu)?)?.sum_all()?;
        let second = (second + (vars[1].as_tensor() * 5.0)?)?.backward()?;
        let mut sum = add_gradients(first, &second, vars.iter())?;
        scale_gradients(&mut sum, vars.iter(), 0.5)?;
        let of = |var: &Var| sum.get(var.as_tensor()).expect("a gradient").flatten_all()?.to_vec1::<f32>();
        assert_eq!((of(&vars[0])?, of(&vars[1])?), (vec![2.0, 3.0], vec![2.5]));
        Ok(())
    }

    /// Gradients (3, 4) and (12).
    fn gradients() -> Result<([Var; 2], GradStore)> {
        let a = Var::new(&[1f32, 1.0], &Device::Cpu)?;
        let b = Var::new(&[1f32], &Device::Cpu)?;
        let loss = ((a.as_tensor() * &Tensor::new(&[3f32, 4.0], &Device::Cpu)?)?.sum_all()? + (b.as_tensor() * 12.0)?.sum_all()?)?;
        Ok(([a, b], loss.backward()?))
    }

    fn clipped(how: Clip) -> Result<Vec<f32>> {
        let (vars, mut gradients) = gradients()?;
        clip(&mut gradients, vars.iter(), how)?;
        let values = |var: &Var| gradients.get(var).expect("a gradient").to_vec1::<f32>();
        Ok([values(&vars[0])?, values(&vars[1])?].concat())
    }

    #[test]
    fn by_norm_all_shrink_together() -> Result<()> {
        assert_eq!(clipped(Clip::Norm(13.5))?, [3.0, 4.0, 12.0], "the norm is 13");
        for (found, expected) in clipped(Clip::Norm(1.3))?.into_iter().zip([0.3, 0.4, 1.2]) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        Ok(())
    }

    #[test]
    fn by_value_each_for_itself() -> Result<()> {
        assert_eq!(clipped(Clip::Value(3.5))?, [3.0, 3.5, 3.5]);
        Ok(())
    }
}
