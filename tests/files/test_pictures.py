import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.files.pictures import decode_image, decode_mask, encode_image, encode_mask
from tasks.files.tables import encode_table
from tests.factories import make_inputs


def test_images_come_back_bit_for_bit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    for image in (noise, make_inputs().images[0].image, np.zeros((32, 32, 3), np.uint8)):
        np.testing.assert_array_equal(decode_image(encode_image(image)), image)


@pytest.mark.parametrize("shape", [(33, 47), (64, 64)])
def test_masks_come_back_and_cost_a_bit_a_pixel_at_most(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(shape) > 0.5
    data = encode_mask(mask)
    decoded = decode_mask(data)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)
    assert len(data) < mask.size / 8 + 200


def test_the_same_table_is_the_same_bytes_in_groups_of_a_hundred_rows() -> None:
    table = pa.table({"name": [str(number) for number in range(250)], "picture": [b"x" * 50] * 250})
    data = encode_table(table, 100)
    assert data == encode_table(table, 100)
    file = pq.ParquetFile(pa.BufferReader(data))
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [100, 100, 50]
    assert file.read().equals(table)
    assert file.metadata.row_group(0).column(1).statistics is None
