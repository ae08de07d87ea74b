"""Disk and memory that CelebA takes at its full size, on a made archive of the same layout: `python benchmarks/celeba.py`.

The archive has as many JPEGs of 178x218 as CelebA, a few hundred different ones under all its names: decoding one a second time costs as much as the
first. It needs 5 GB of disk for ten minutes. What it found is shown in the chapter on data, from results/00a_data/celeba_full.json.
"""
import argparse
import io
import json
import tempfile
import zipfile
from pathlib import Path

import torch
from PIL import Image

from run import ROOT, figure, python
from lgm_nbdev.data import write_json
from lgm_nbdev.experiments import machine, versions
from lgm_nbdev.toyfaces import FACE_COLUMNS, draw_faces, face_attributes

TRAIN, VALIDATION, TEST = 162_770, 19_867, 19_962  # images of CelebA
ATTRIBUTES = 40
READ = """
import json
from lgm_nbdev.data import BatchLoader, get_splits
def status(key): return int(next(line for line in open('/proc/self/status') if line.startswith(key)).split()[1]) / 1024**2
splits = get_splits('celeba', root=ROOT, progress=False)
decoding = status('VmHWM')
n = sum(len(batch.x) for batch in BatchLoader(splits.train, 128))
print(json.dumps(dict(images=sum(map(len, splits[:3])), walked=n, attributes=list(splits.train.attributes.shape), decoding=decoding, own=status('RssAnon'))))
"""


def made_jpegs(n: int) -> list[bytes]:
    "Different JPEGs of 178x218, toy faces with some grain: somewhat larger files than CelebA's."
    generator = torch.Generator().manual_seed(0)
    faces = draw_faces(face_attributes(torch.rand(n, len(FACE_COLUMNS), generator=generator)), size=218)[..., 20:198]
    pixels = (255*faces + 6*torch.randn(faces.shape, generator=generator)).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    files = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, 'JPEG', quality=75)
        files.append(file.getvalue())
    return files


def make_celeba(folder: Path, parts: tuple[int, int, int], different: int = 256):
    "CelebA's zip and its two lists, as many images as `parts` adds up to."
    home, jpegs, n = folder / 'celeba', made_jpegs(different), sum(parts)
    home.mkdir(parents=True)
    names = [f'{i + 1:06}.jpg' for i in range(n)]
    with zipfile.ZipFile(home / 'img_align_celeba.zip', 'w') as archive:
        for i, name in enumerate(names): archive.writestr(f'img_align_celeba/{name}', jpegs[i % different])
    signs = torch.randint(2, (n, ATTRIBUTES), generator=torch.Generator().manual_seed(1))*2 - 1
    rows = [f'{name}  ' + ' '.join(f'{v:2d}' for v in row) for name, row in zip(names, signs.tolist())]
    header = ' '.join(f'Attribute_{i}' for i in range(ATTRIBUTES))
    (home / 'list_attr_celeba.txt').write_text('\n'.join([str(n), header + ' ', *rows]) + '\n')
    part_of = [part for part, length in enumerate(parts) for _ in range(length)]
    (home / 'list_eval_partition.txt').write_text(''.join(f'{name} {part}\n' for name, part in zip(names, part_of)))


def bench_celeba(parts: tuple[int, int, int] = (TRAIN, VALIDATION, TEST)) -> dict:
    "Disk of the decoded images, memory of the process that decodes them, and its own memory once it has walked through the training images."
    with tempfile.TemporaryDirectory() as folder:
        make_celeba(Path(folder), parts)
        found = json.loads(python(f'ROOT = {folder!r}\n{READ}').split('\n')[-1])
        disk = sum(file.stat().st_size for file in (Path(folder) / 'decoded').rglob('*') if file.is_file())
    assert (found['images'], found['walked'], found['attributes']) == (sum(parts), parts[0], [parts[0], ATTRIBUTES]), found
    return {'disk of the decoded images': figure(disk / 1024**3, 'GB', 'at most 3'),
            'peak memory of the process that decodes': figure(found['decoding'], 'GB', 'at most 1'),
            'memory after an epoch of batches, without the pages of the mapped file': figure(found['own'], 'GB', 'at most 1')}


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, default=ROOT / 'results' / '00a_data' / 'celeba_full.json')
    parser.add_argument('--scale', type=float, default=1., help='share of the images, to try it')
    args = parser.parse_args()
    rows = bench_celeba(tuple(round(args.scale * part) for part in (TRAIN, VALIDATION, TEST)))
    for title, row in rows.items(): print(f"{title}: {row['median']:.3g} {row['unit']} (target: {row['target']})")
    write_json(args.out, {'rows': rows, 'images': round(args.scale * (TRAIN + VALIDATION + TEST)), 'machine': machine(), 'versions': versions()})
