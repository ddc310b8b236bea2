//! Scenes that are made: small grey articles, as those of Fashion-MNIST, enlarged, turned, tinted and laid over each other on textured ground,
//! with exact masks of what is seen of each.
//!
//! They are enough to train a detector in minutes and to see whether it learns. Everything is drawn from a seed: the same articles, seed and
//! number give the same scene, bit for bit.

mod article;
mod ground;

use std::fs;
use std::path::Path;

use cirio_coco::Rle;
use cirio_vision::Image;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use self::article::Article;
use super::{Category, Object, ObjectSet, Outline, Picture, coco};
use crate::parallel::in_parallel;
use crate::{Dataset, Error, Purpose, Result, Split, derived_rng};

/// The names of Fashion-MNIST's classes, in the order of its labels (Xiao, Rasul and Vollgraf, 2017, table 2).
pub const FASHION_MNIST: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"];

/// The sides of a scene, in pixels.
const SIDES: std::ops::RangeInclusive<usize> = 144..=224;

/// How many articles are tried in a scene.
const ARTICLES: std::ops::RangeInclusive<usize> = 2..=7;

/// The part of an article that lies in the picture, at least.
const INSIDE: f64 = 0.7;

/// The part of an article's pixels in the picture that other articles leave to be seen, at least.
const SEEN: f64 = 0.3;

/// Places that are tried for an article before it is left out.
const TRIES: usize = 12;

/// An article in a scene, and what is seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// Its class, from 0.
    pub class: usize,
    /// Its pixels that nothing covers.
    pub mask: Rle,
}

/// Makes scene `number` of a part: an RGB picture, and its articles from the lowest to the topmost.
///
/// An article finds a place where at least 70 % of it are in the picture, and it leaves at least 30 % to be seen of each one below; without such a
/// place it is left out. There are seven at most.
///
/// # Errors
/// When there are no articles, or one is not grey or cannot be read.
pub fn scene(articles: &dyn Dataset, split: Split, seed: u64, number: u64) -> Result<(Image, Vec<Placed>)> {
    let rng = &mut derived_rng(seed, split as u64, Purpose::Scene, number);
    let size = [rng.random_range(SIDES), rng.random_range(SIDES)];
    let mut scene =
        Pile { size, colours: ground::draw(size, rng), owners: vec![0; size[0] * size[1]], pixels: Vec::new(), classes: Vec::new() };
    for _ in 0..rng.random_range(ARTICLES) {
        let index = rng.random_range(0..articles.len().max(1));
        let sample = articles.get(index)?;
        let article = Article::draw(&sample.image, rng)
            .ok_or_else(|| Error::Picture { picture: articles.picture_name(index), reason: "is no light article on black".to_owned() })?;
        scene.lay(&article, sample.label, rng);
    }
    scene.finish()
}

/// A scene as it grows.
struct Pile {
    /// Rows, columns.
    size: [usize; 2],
    /// H×W×3 in 0 … 255.
    colours: Vec<f32>,
    /// The number of the topmost article of each pixel, from 1; 0 is the ground.
    owners: Vec<u8>,
    /// How many pixels each article had before others covered it.
    pixels: Vec<usize>,
    classes: Vec<usize>,
}

impl Pile {
    /// Lays an article on the others where it fits, if anywhere.
    fn lay(&mut self, article: &Article, class: usize, rng: &mut ChaCha8Rng) {
        let places = (0..TRIES).map(|_| self.size.map(|side| rng.random_range(0..side) as isize - article.side() as isize / 2));
        let Some((corner, owners)) = places.filter_map(|corner| Some((corner, self.covered(article, corner)?))).next() else { return };
        self.owners = owners;
        let number = self.classes.len() + 1;
        self.pixels.push(self.owners.iter().filter(|&&owner| usize::from(owner) == number).count());
        self.classes.push(class);
        for (place, pixel) in article.pixels(self.size, corner) {
            let ground = &mut self.colours[3 * place..][..3];
            ground.iter_mut().zip(pixel.colour).for_each(|(ground, colour)| *ground += pixel.opacity * (colour - *ground));
        }
    }

    /// The owners of the pixels with the article at this corner, or `None` where it does not fit.
    fn covered(&self, article: &Article, corner: [isize; 2]) -> Option<Vec<u8>> {
        let number = self.classes.len() + 1;
        let mut owners = self.owners.clone();
        let mut inside = 0;
        for (place, pixel) in article.pixels(self.size, corner) {
            if pixel.belongs() {
                owners[place] = number as u8;
                inside += 1;
            }
        }
        let mut seen = vec![0usize; number + 1];
        owners.iter().for_each(|&owner| seen[usize::from(owner)] += 1);
        let all_seen = self.pixels.iter().zip(&seen[1..]).all(|(&whole, &seen)| seen as f64 >= SEEN * whole as f64);
        (inside as f64 >= INSIDE * article.area() as f64 && all_seen).then_some(owners)
    }

    fn finish(self) -> Result<(Image, Vec<Placed>)> {
        let Self { size, colours, owners, classes, .. } = self;
        let data = colours.into_iter().map(|value| value.round() as u8).collect();
        let image = Image::new(size[1], size[0], 3, data).map_err(|error| Error::picture("a scene", error))?;
        let mut placed = Vec::with_capacity(classes.len());
        for (index, class) in classes.into_iter().enumerate() {
            let mask: Vec<u8> = owners.iter().map(|&owner| u8::from(usize::from(owner) == index + 1)).collect();
            let mask = Rle::encode(size, &mask).map_err(|error| Error::option("mask", error, "one of the scene's size"))?;
            placed.push(Placed { class, mask });
        }
        Ok((image, placed))
    }
}

/// Makes `count` scenes of a part on all cores, and writes them as a COCO data set: `out/train/000000.png` and so on, and
/// `out/annotations/instances_train.json`.
///
/// # Errors
/// As [`scene`], when the folder `out/train` holds something, or when the disk refuses.
pub fn write(articles: &dyn Dataset, split: Split, seed: u64, count: usize, out: &Path) -> Result<ObjectSet> {
    if articles.is_empty() {
        return Err(Error::layout(out, "scenes need articles, but there are none"));
    }
    let (pictures, labels) = (out.join(split.name()), out.join("annotations"));
    crate::export::make_empty(&pictures)?;
    fs::create_dir_all(&labels).map_err(|error| Error::io(&labels, error))?;
    let write_one = |number: usize| -> Result<(Picture, Vec<Placed>)> {
        let (image, placed) = scene(articles, split, seed, number as u64)?;
        let path = pictures.join(format!("{number:06}.png"));
        image.save(&path).map_err(|error| Error::picture(path.display().to_string(), error))?;
        Ok((Picture { id: number as u64 + 1, path, labels: None, size: [image.height(), image.width()], objects: Vec::new() }, placed))
    };
    let parts = in_parallel(count, |numbers| numbers.map(write_one).collect::<Result<Vec<_>>>());
    let mut set = ObjectSet { name: format!("made scenes, {} part, seed {seed}", split.name()), ..ObjectSet::default() };
    set.categories = (1..).zip(articles.classes()).map(|(id, name)| Category { id, name: name.clone() }).collect();
    let mut ids = 1..;
    for part in parts {
        for (mut picture, placed) in part? {
            picture.objects = placed.into_iter().zip(&mut ids).filter_map(|(placed, id)| object(placed, id)).collect();
            set.pictures.push(picture);
        }
    }
    coco::write(&set, &labels.join(format!("instances_{}.json", split.name())), &pictures)?;
    Ok(set)
}

fn object(Placed { class, mask }: Placed, id: u64) -> Option<Object> {
    let outline = Outline::Runs(mask);
    let (edges, area) = (outline.bounds()?, outline.area());
    Some(Object { id, place: None, class, edges, outline: Some(outline), keypoints: Vec::new(), area, crowd: false })
}
