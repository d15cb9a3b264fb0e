"""EfficientNet-Lite0 as the trunk of a SAM 2 image encoder.

EfficientNet-Lite (Google, Apache-2.0) is EfficientNet (Tan and Le, arXiv 1905.11946) without
squeeze-and-excitation and with ReLU6, trained on ImageNet. Batch normalization is folded into the
convolutions. sam2 wants from a trunk a list of feature maps, finest first, and `channel_list`,
coarsest first; segmenter.yaml names this class.

Two things are added for cutting. Strides 4 and 8 get a small convolution of their own beside the
pretrained features, stride 4 also the features of stride 2, four pixels side by side, for sharp
outlines. Strides 16 and 32 are joined, and blocks of global self-attention let each place see
what it belongs to.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Stage(NamedTuple):
    """Inverted residual blocks of one shape; the first of them has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STRIDE2_STAGE, STRIDE4_STAGE, STRIDE8_STAGE, STRIDE16_STAGE, STRIDE32_STAGE = 0, 1, 2, 4, 6
FINE_CHANNELS = 4 * STAGES[STRIDE2_STAGE].channels + STAGES[STRIDE4_STAGE].channels
MIDDLE_CHANNELS = STAGES[STRIDE8_STAGE].channels
COARSE_CHANNELS = STAGES[STRIDE16_STAGE].channels + STAGES[STRIDE32_STAGE].channels
# sam2 normalizes pixels of 0..1 by ImageNet's mean and spread, EfficientNet-Lite by these.
LITE_MEAN, LITE_STD = 0.498, 0.502
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LiteTrunk(nn.Module):
    """From (B, 3, S, S) to maps at strides 4, 8 and 16; S must be a multiple of 32.

    Args:
        width: channels of the map at stride 16.
        fine: channels that stride 4 gets beside the pretrained ones.
        middle: channels that stride 8 gets beside the pretrained ones.
        context_blocks: blocks of self-attention at stride 16.
        heads: of that attention.
    """

    def __init__(
        self,
        width: int = 192,
        fine: int = 40,
        middle: int = 56,
        context_blocks: int = 2,
        heads: int = 6,
    ) -> None:
        super().__init__()
        self.features = LiteFeatures()
        self.fine = nn.Conv2d(FINE_CHANNELS, fine, 3, padding=1)
        self.middle = nn.Conv2d(MIDDLE_CHANNELS, middle, 3, padding=1)
        self.coarse = nn.Conv2d(COARSE_CHANNELS, width, 1)
        self.context = nn.ModuleList(ContextBlock(width, heads) for _ in range(context_blocks))
        self.channel_list = [width, MIDDLE_CHANNELS + middle, FINE_CHANNELS + fine]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return maps (B, C, S / stride, S / stride) at strides 4, 8 and 16."""
        fine, middle, coarse = self.joined(self.features(pixels))
        x = self.coarse(coarse)
        for block in self.context:
            x = block(x)
        return [self.with_own(self.fine, fine), self.with_own(self.middle, middle), x]

    @staticmethod
    def joined(maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pretrained features that go with strides 4, 8 and 16."""
        stride2, stride4, stride8, stride16, stride32 = maps
        fine = torch.cat([functional.pixel_unshuffle(stride2, 2), stride4], 1)
        above = functional.interpolate(
            stride32.float(), size=stride16.shape[-2:], mode="bilinear", align_corners=False
        )
        return fine, stride8, torch.cat([stride16, above.to(stride16.dtype)], 1)

    @staticmethod
    def with_own(conv: nn.Module, values: Tensor) -> Tensor:
        """Return features with those that a convolution makes of them."""
        return torch.cat([values, functional.gelu(conv(values))], 1)


class LiteFeatures(nn.Module):
    """The pretrained convolutions; maps at strides 2, 4, 8, 16 and 32."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = PaddedConv(3, STEM_CHANNELS, 3, 2)
        self.stages = nn.ModuleList()
        channels = STEM_CHANNELS
        for stage in STAGES:
            blocks = nn.ModuleList()
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, stage, stride))
                channels = stage.channels
            self.stages.append(blocks)
        spread = torch.tensor(IMAGENET_STD) / LITE_STD
        mean = (torch.tensor(IMAGENET_MEAN) - LITE_MEAN) / LITE_STD
        self.register_buffer("spread", spread[:, None, None], persistent=False)
        self.register_buffer("mean", mean[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return five maps of pixels (B, 3, S, S) normalized as sam2 does."""
        x = functional.relu6(self.stem(pixels * self.spread + self.mean))
        maps = []
        for index, blocks in enumerate(self.stages):
            for block in cast(nn.ModuleList, blocks):
                x = block(x)
            if index in (STRIDE2_STAGE, STRIDE4_STAGE, STRIDE8_STAGE, STRIDE16_STAGE,
                         STRIDE32_STAGE):  # fmt: skip
                maps.append(x)
        return maps


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project; with a way around where shapes agree."""

    def __init__(self, channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = channels * stage.expansion
        self.expand = nn.Conv2d(channels, inner, 1) if stage.expansion > 1 else None
        self.depthwise = PaddedConv(inner, inner, stage.kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, stage.channels, 1)
        self.around = stride == 1 and channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C', H / stride, W / stride) of (B, C, H, W)."""
        inner = functional.relu6(self.expand(x)) if self.expand is not None else x
        out: Tensor = self.project(functional.relu6(self.depthwise(inner)))
        return x + out if self.around else out


class PaddedConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads even sizes: with stride 2, more after than before."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, stride: int, groups: int = 1
    ) -> None:
        padding = 0 if stride == 2 else kernel // 2
        super().__init__(channels, out_channels, kernel, stride, padding, groups=groups)
        total = kernel - stride
        self.before, self.after = total // 2, total - total // 2

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, C', H / stride, W / stride)."""
        if self.stride[0] == 2:
            input = functional.pad(input, (self.before, self.after) * 2)
        return super().forward(input)


class ContextBlock(nn.Module):
    """Self-attention over all places of a map, then a small MLP (arXiv 2010.11929)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape (B, C, h, w)."""
        tokens = x.flatten(2).transpose(1, 2)  # (B, n, C)
        batch, count, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(batch, count, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, n, C / heads)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        tokens = tokens + self.mlp(self.norm2(tokens))
        out: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return out
