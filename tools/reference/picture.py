"""Draws the picture that the way from a file to the logits is tested with: picture.py OUT.png"""

import sys

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 331, 243

picture = Image.new("RGB", (WIDTH, HEIGHT))
picture.putdata([(255 * x // WIDTH, 255 * y // HEIGHT, 128 + 127 * ((x // 9 + y // 7) % 2)) for y in range(HEIGHT) for x in range(WIDTH)])
draw = ImageDraw.Draw(picture)
draw.ellipse((60, 40, 190, 170), fill=(230, 60, 40), outline=(0, 0, 0), width=5)
draw.polygon(((200, 200), (300, 60), (320, 220)), fill=(20, 140, 90))
for line in range(0, WIDTH, 13):
    draw.line((line, 0, WIDTH - line, HEIGHT), fill=(line % 256, 255 - line % 256, 90), width=1)
picture.save(sys.argv[1], optimize=True)
