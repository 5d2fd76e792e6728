"""The networks of the breadth table: small members of every family of four collections."""

from typing import Final

_BUNDLED: Final = """
    mlp_digits cnn_digits lenet_300_100 lenet_5 resnet_8 gru_128 vit_tiny
"""
# Classification, segmentation, detection, video, optical flow.
_TORCHVISION: Final = """
    alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3
    maxvit_t mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18
    resnet50 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11_bn vgg16_bn
    vit_b_16 wide_resnet50_2 deeplabv3_mobilenet_v3_large deeplabv3_resnet50 fcn_resnet50
    lraspp_mobilenet_v3_large fasterrcnn_mobilenet_v3_large_320_fpn fcos_resnet50_fpn
    keypointrcnn_resnet50_fpn maskrcnn_resnet50_fpn retinanet_resnet50_fpn ssd300_vgg16
    ssdlite320_mobilenet_v3_large mc3_18 mvit_v1_b r2plus1d_18 r3d_18 s3d swin3d_t raft_small
"""
# The smallest of each of timm's files of models, up to 90 million parameters, and a few variants.
_TIMM: Final = """
    beit_base_patch16_224 cait_xxs24_224 coat_tiny coatnet_nano_rw_224 convit_tiny
    convmixer_768_32 convnext_atto convnextv2_atto cpubone_nano crossvit_tiny_240
    cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121 dla46x_c
    dpn48b edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientvim_m1
    efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw fasternet_t0 fastvit_t8
    focalnet_tiny_srf gcvit_xxtiny ghostnet_050 gmlp_ti16_224 halonet_h1 hardcorenas_b
    hgnetv2_b0 hiera_tiny_224 hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2
    inception_v3 inception_v4 lcnetv2_small legacy_seresnet18 legacy_xception levit_128s
    lowformer_b0 mambaout_femto maxvit_pico_rw_256 mixer_s32_224 mnasnet_small
    mobilenetv3_small_050 mobilenetv5_base mobileone_s1 mobilevit_xxs mvitv2_tiny
    naflexvit_base_patch16_parfac_gap nasnetalarge nest_tiny nextvit_small pit_ti_224
    pnasnet5large poolformerv2_s12 pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002
    repghostnet_050 repvgg_a0 repvit_m1 res2next50 resnest14d resnet10t resnet18 resnetv2_18
    rexnet_100 sam2_hiera_tiny samvit_base_patch16_224 selecsls42 sequencer2d_s seresnet18
    shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
    swinv2_cr_tiny_224 swinv2_tiny_window8_256 test_nfnet test_vit_relpos tiny_vit_5m_224
    tnt_s_legacy_patch16_224 tresnet_m twins_svt_small visformer_tiny vit_tiny_patch16_224
    vit_tiny_patch16_dinov3_qkvb vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 xception41p
    xcit_nano_12_p8_224
"""
# Default configurations up to 200 million parameters, smaller ones of the same type above.
_TRANSFORMERS: Final = """
    albert audio-spectrogram-transformer bart beit bert bloom clip codegen convbert convnextv2
    cvt data2vec-vision deberta deberta-v2 deit detr dinov2 distilbert dpt electra ernie falcon
    gemma2 glm gpt2 gpt_neo gpt_neox gptj hubert llama mamba mamba2 mistral mixtral mobilebert
    mobilevit modernbert mpnet mpt nystromformer olmo2 opt pegasus phi phi3 poolformer pvt qwen2
    qwen3 qwen3_moe regnet rembert resnet roberta roformer segformer siglip squeezebert stablelm
    starcoder2 swin swinv2 t5 videomae vilt vit vit_mae wav2vec2 wavlm whisper xlm-roberta yolos
"""
# Smaller inputs than the default, where that only saves time.
_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "torchvision:deeplabv3_resnet50": (3, 128, 128),
    "torchvision:fcn_resnet50": (3, 128, 128),
    "transformers:wav2vec2": (4000,),
}
_COLLECTIONS: Final = {
    "bundled": _BUNDLED,
    "torchvision": _TORCHVISION,
    "timm": _TIMM,
    "transformers": _TRANSFORMERS,
}

CATALOGUE: Final[dict[str, tuple[int, ...] | None]] = {
    f"{collection}:{name}": _SHAPES.get(f"{collection}:{name}")
    for collection, names in _COLLECTIONS.items()
    for name in names.split()
}
